/* Frames to packets: link, network and transport headers. One pass, no state; what cannot be read is set
 * aside with a reason.
 *
 * Sources: IEEE 802.3/802.1Q, RFC 791, 8200, 826, 793, 768, 792, 4443, and tcpdump.org's list of link types.
 */
#include "native.h"

enum reason {
    READ, UNKNOWN_LINK, UNKNOWN_ETHERTYPE, LLC, SHORT_LINK, TOO_MANY_TAGS, IP_VERSION, IPV4_HEADER, IPV4_LENGTH,
    IPV6_HEADER, IPV6_LENGTH, IPV6_EXTENSION, LATER_FRAGMENT, TCP_HEADER, UDP_HEADER, ICMP_HEADER, ARP_MESSAGE,
    NOT_CAPTURED,
};
enum link { LINK_NULL = 0, LINK_ETHERNET = 1, LINK_LOOP = 108, LINK_COOKED = 113, LINK_COOKED_2 = 276, LINK_IPV4 = 228, LINK_IPV6 = 229 };
enum { TYPE_IPV4 = 0x0800, TYPE_ARP = 0x0806, TYPE_IPV6 = 0x86DD, MAXIMUM_TAGS = 8 };

/* What is being read: the captured bytes, and how many there were on the wire from the same point. */
struct span {
    struct view bytes;
    size_t wire;
};

static struct span span_from(struct span s, size_t offset) {
    return (struct span){view_from(s.bytes, offset), offset < s.wire ? s.wire - offset : 0};
}

static struct span span_first(struct span s, size_t size) {
    return (struct span){view_first(s.bytes, size), size < s.wire ? size : s.wire};
}

/* Whether `size` bytes can be read; if not, `missing` says whether the packet or the capture lacks them. */
static enum reason need(struct span s, size_t size, enum reason missing) {
    if (s.bytes.size >= size) return READ;
    return s.wire >= size ? NOT_CAPTURED : missing;
}

static void set_payload(struct packet *p, struct span s, const uint8_t *data) {
    p->payload_bytes = (uint32_t)s.wire;
    p->payload_captured = (uint32_t)s.bytes.size;
    p->payload_offset = s.bytes.size ? s.bytes.at - data : 0;
}

static void read_ipv4_address(struct view v, size_t offset, uint8_t out[16]) {
    memset(out, 0, 12);
    read_bytes(v, offset, out + 12, 4);
}

static bool is_extension(uint8_t next) {
    return next == 0 || next == 43 || next == 44 || next == 51 || next == 60 || next == 135;
}

static bool icmp_has_id(uint16_t protocol, uint8_t type) {
    if (protocol == ICMP) return type == 0 || type == 8 || (type >= 13 && type <= 18);
    return type == 128 || type == 129;
}

/* The first bytes of the packet that an ICMP error carries: enough for the flow's key. */
static void read_quoted(struct packet *p, struct view v) {
    uint8_t version = read8(v, 0) >> 4;
    size_t head;
    uint8_t protocol;
    if (version == 4 && v.size >= 20) {
        head = (size_t)(read8(v, 0) & 15) * 4;
        if (head < 20 || read16(v, 6) & 0x1FFF) return;
        protocol = read8(v, 9);
        read_ipv4_address(v, 12, p->quoted_src);
        read_ipv4_address(v, 16, p->quoted_dst);
    } else if (version == 6 && v.size >= 40) {
        head = 40;
        protocol = read8(v, 6);
        read_bytes(v, 8, p->quoted_src, 16);
        read_bytes(v, 24, p->quoted_dst, 16);
        if (is_extension(protocol)) return;
    } else {
        return;
    }
    p->quoted_protocol = protocol;
    if (protocol == TCP || protocol == UDP) {
        p->quoted_src_port = read16(v, head);
        p->quoted_dst_port = read16(v, head + 2);
    } else if (protocol == ICMP || protocol == ICMP6) {
        uint8_t type = read8(v, head);
        p->quoted_src_port = icmp_has_id(protocol, type) ? read16(v, head + 4) : 0;
        p->quoted_dst_port = type;
    }
}

static enum reason read_tcp(struct packet *p, struct span s, const uint8_t *data) {
    enum reason short_of = need(s, 20, TCP_HEADER);
    if (short_of) return short_of;
    size_t head = (size_t)(read8(s.bytes, 12) >> 4) * 4;
    if (head < 20 || head > s.wire) return TCP_HEADER;
    p->src_port = read16(s.bytes, 0);
    p->dst_port = read16(s.bytes, 2);
    p->tcp_sequence = read32(s.bytes, 4);
    p->tcp_flags = read8(s.bytes, 13) & 0x3F;
    set_payload(p, span_from(s, head), data);
    return READ;
}

static enum reason read_udp(struct packet *p, struct span s, bool fragmented, const uint8_t *data) {
    enum reason short_of = need(s, 8, UDP_HEADER);
    if (short_of) return short_of;
    size_t size = read16(s.bytes, 4);
    if (size == 0) size = s.wire; /* jumbogram or offloaded */
    if (size < 8 || (size > s.wire && !fragmented)) return UDP_HEADER;
    p->src_port = read16(s.bytes, 0);
    p->dst_port = read16(s.bytes, 2);
    set_payload(p, span_from(span_first(s, size), 8), data);
    return READ;
}

static enum reason read_icmp(struct packet *p, struct span s, const uint8_t *data) {
    enum reason short_of = need(s, 4, ICMP_HEADER);
    if (short_of) return short_of;
    p->icmp_type = read8(s.bytes, 0);
    p->icmp_code = read8(s.bytes, 1);
    if (icmp_has_id(p->protocol, p->icmp_type)) p->icmp_id = read16(s.bytes, 4);
    bool is_error = p->protocol == ICMP ? p->icmp_type == 3 || p->icmp_type == 11 || p->icmp_type == 12 : p->icmp_type < 128;
    if (is_error) read_quoted(p, view_from(s.bytes, 8));
    set_payload(p, span_from(s, 8), data);
    return READ;
}

static enum reason read_transport(struct packet *p, struct span s, bool fragmented, const uint8_t *data) {
    switch (p->protocol) {
        case TCP: return read_tcp(p, s, data);
        case UDP: return read_udp(p, s, fragmented, data);
        case ICMP: case ICMP6: return read_icmp(p, s, data);
        default: set_payload(p, s, data); return READ;
    }
}

static enum reason read_ipv4(struct packet *p, struct span s, const uint8_t *data) {
    enum reason short_of = need(s, 20, IPV4_HEADER);
    if (short_of) return short_of;
    if (read8(s.bytes, 0) >> 4 != 4) return IP_VERSION;
    size_t head = (size_t)(read8(s.bytes, 0) & 15) * 4, total = read16(s.bytes, 2);
    if (total == 0) total = s.wire; /* segmentation was left to the network card */
    if (head < 20) return IPV4_HEADER;
    if (total < head || total > s.wire) return IPV4_LENGTH;
    uint16_t fragment = read16(s.bytes, 6);
    p->family = 4;
    p->protocol = read8(s.bytes, 9);
    p->network_bytes = (uint32_t)total;
    read_ipv4_address(s.bytes, 12, p->src);
    read_ipv4_address(s.bytes, 16, p->dst);
    if (fragment & 0x1FFF) return LATER_FRAGMENT;
    return read_transport(p, span_from(span_first(s, total), head), fragment & 0x2000, data);
}

static enum reason read_ipv6(struct packet *p, struct span s, const uint8_t *data) {
    enum reason short_of = need(s, 40, IPV6_HEADER);
    if (short_of) return short_of;
    if (read8(s.bytes, 0) >> 4 != 6) return IP_VERSION;
    size_t total = 40u + read16(s.bytes, 4);
    if (total == 40 && read8(s.bytes, 6) == 0) total = s.wire; /* jumbogram */
    if (total > s.wire) return IPV6_LENGTH;
    s = span_first(s, total);
    p->family = 6;
    p->network_bytes = (uint32_t)total;
    read_bytes(s.bytes, 8, p->src, 16);
    read_bytes(s.bytes, 24, p->dst, 16);
    uint8_t next = read8(s.bytes, 6);
    bool fragmented = false;
    struct span rest = span_from(s, 40);
    while (is_extension(next)) { /* each step consumes at least eight bytes */
        short_of = need(rest, 8, IPV6_EXTENSION);
        if (short_of) return short_of;
        uint8_t units = read8(rest.bytes, 1);
        size_t size = next == 44 ? 8 : next == 51 ? (units + 2u) * 4 : (units + 1u) * 8;
        if (size > rest.wire) return IPV6_EXTENSION;
        if (next == 44) {
            uint16_t fragment = read16(rest.bytes, 2);
            if (fragment & 0xFFF8) return LATER_FRAGMENT;
            fragmented = fragment & 1;
        }
        next = read8(rest.bytes, 0);
        rest = span_from(rest, size < 8 ? 8 : size);
    }
    p->protocol = next;
    return read_transport(p, rest, fragmented, data);
}

static enum reason read_arp(struct packet *p, struct span s) {
    enum reason short_of = need(s, 28, ARP_MESSAGE);
    if (short_of) return short_of;
    if (read16(s.bytes, 2) != TYPE_IPV4 || read8(s.bytes, 4) != 6 || read8(s.bytes, 5) != 4) return ARP_MESSAGE;
    p->family = 4;
    p->protocol = ARP;
    p->network_bytes = 28;
    p->arp_operation = read16(s.bytes, 6);
    read_bytes(s.bytes, 8, p->arp_sender_mac, 6);
    read_ipv4_address(s.bytes, 14, p->src);
    read_bytes(s.bytes, 18, p->arp_target_mac, 6);
    read_ipv4_address(s.bytes, 24, p->dst);
    return READ;
}

static enum reason read_ip(struct packet *p, struct span s, const uint8_t *data) {
    enum reason short_of = need(s, 1, IP_VERSION);
    if (short_of) return short_of;
    return read8(s.bytes, 0) >> 4 == 6 ? read_ipv6(p, s, data) : read_ipv4(p, s, data);
}

static enum reason read_network(struct packet *p, uint16_t type, struct span s, const uint8_t *data, uint16_t *detail) {
    for (int tags = 0; type == 0x8100 || type == 0x88A8 || type == 0x9100; tags++) {
        if (tags == MAXIMUM_TAGS) return TOO_MANY_TAGS;
        enum reason short_of = need(s, 4, SHORT_LINK);
        if (short_of) return short_of;
        p->vlan = read16(s.bytes, 0) & 0x0FFF;
        type = read16(s.bytes, 2);
        s = span_from(s, 4);
    }
    *detail = type;
    switch (type) {
        case TYPE_IPV4: return read_ipv4(p, s, data);
        case TYPE_IPV6: return read_ipv6(p, s, data);
        case TYPE_ARP: return read_arp(p, s);
        default: return type < 0x0600 ? LLC : UNKNOWN_ETHERTYPE;
    }
}

static enum reason read_ethernet(struct packet *p, struct span s, const uint8_t *data, uint16_t *detail) {
    enum reason short_of = need(s, 14, SHORT_LINK);
    if (short_of) return short_of;
    read_bytes(s.bytes, 0, p->dst_mac, 6);
    read_bytes(s.bytes, 6, p->src_mac, 6);
    p->has_src_mac = p->has_dst_mac = 1;
    return read_network(p, read16(s.bytes, 12), span_from(s, 14), data, detail);
}

/* Linux "any" captures: version 1 has 16 bytes and the type last, version 2 has 20 and the type first. */
static enum reason read_cooked(struct packet *p, struct span s, bool second, const uint8_t *data, uint16_t *detail) {
    enum reason short_of = need(s, second ? 20 : 16, SHORT_LINK);
    if (short_of) return short_of;
    uint16_t size = second ? read8(s.bytes, 11) : read16(s.bytes, 4);
    if (size == 6) {
        read_bytes(s.bytes, second ? 12 : 6, p->src_mac, 6);
        p->has_src_mac = 1;
    }
    return read_network(p, read16(s.bytes, second ? 0 : 14), span_from(s, second ? 20 : 16), data, detail);
}

/* BSD loopback: an address family in the writer's byte order. 2 is IPv4; IPv6 is 10, 24, 28 or 30. */
static enum reason read_loopback(struct packet *p, struct span s, const uint8_t *data) {
    enum reason short_of = need(s, 4, SHORT_LINK);
    return short_of ? short_of : read_ip(p, span_from(s, 4), data);
}

static enum reason read_frame(struct packet *p, uint16_t link, struct span s, const uint8_t *data, uint16_t *detail) {
    *detail = link;
    switch (link) {
        case LINK_ETHERNET: return read_ethernet(p, s, data, detail);
        case LINK_COOKED: return read_cooked(p, s, false, data, detail);
        case LINK_COOKED_2: return read_cooked(p, s, true, data, detail);
        case LINK_NULL: case LINK_LOOP: return read_loopback(p, s, data);
        case 12: case 14: case 101: return read_ip(p, s, data);
        case LINK_IPV4: return read_ipv4(p, s, data);
        case LINK_IPV6: return read_ipv6(p, s, data);
        default: return UNKNOWN_LINK;
    }
}

struct frame_columns {
    const int64_t *time_ns, *offset;
    const uint32_t *captured, *length;
    const uint16_t *link_type;
    int64_t count;
};

/* Decodes the frames into `packets` (room for all); returns how many were read. `reasons` and `details` get
 * one entry a frame: why it was set aside (0: it was not) and the link type or ethertype. */
EXPORT int64_t wirespeak_decode(const uint8_t *data, size_t size, const struct frame_columns *frames,
                                struct packet *packets, uint8_t *reasons, uint16_t *details) {
    int64_t count = 0;
    for (int64_t i = 0; i < frames->count; i++) {
        uint64_t offset = (uint64_t)frames->offset[i];
        struct view file = {data, size};
        struct span span = {view_first(view_from(file, offset), frames->captured[i]), frames->length[i]};
        struct packet *p = &packets[count];
        memset(p, 0, sizeof *p);
        p->time_ns = frames->time_ns[i];
        p->vlan = NO_VLAN;
        p->quoted_protocol = NO_PROTOCOL;
        reasons[i] = (uint8_t)read_frame(p, frames->link_type[i], span, data, &details[i]);
        count += reasons[i] == READ;
    }
    return count;
}

/* The fields of the tables, one "name format offset" a line, then the row's size. */
#define LINE(type, format, name, suffix) {#name, format, offsetof(struct ROW, name)},
struct field {
    const char *name, *format;
    size_t offset;
};
#define ROW packet
static const struct field packet_fields[] = {PACKET_FIELDS(LINE)};
#undef ROW
#define ROW flow_row
static const struct field flow_fields[] = {FLOW_FIELDS(LINE)};
#undef ROW

/* Field `index` of a table ('p' packets, 'f' flows): its name, or NULL past the last; format and offset. */
EXPORT const char *wirespeak_field(char table, size_t index, const char **format, size_t *offset) {
    const struct field *fields = table == 'p' ? packet_fields : flow_fields;
    size_t count = table == 'p' ? ARRAY_LENGTH(packet_fields) : ARRAY_LENGTH(flow_fields);
    if (index >= count) return NULL;
    *format = fields[index].format;
    *offset = fields[index].offset;
    return fields[index].name;
}

EXPORT size_t wirespeak_row_size(char table) { return table == 'p' ? sizeof(struct packet) : sizeof(struct flow_row); }
