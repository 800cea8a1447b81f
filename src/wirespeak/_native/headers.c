/* Frames to packets: link, network and transport headers. One pass, no state; what cannot be read is set
 * aside with a reason.
 *
 * What is inside a tunnel is read in its stead; where that cannot be read, the tunnel's own packet stands.
 *
 * Sources: IEEE 802.3, 802.1Q, 802.11 and 802.15.4, RFC 791, 8200, 826, 793, 768, 792, 4443, 9260 (SCTP), 1661 (PPP), 2516 (PPPoE),
 * 3032 (MPLS), 4385 (pseudowires), 2784 and 2890 (GRE), 2637 (its version 1), 7348 (VXLAN), 3GPP TS 29.281 (GTP-U), and tcpdump.org's list of link types.
 */
#include "native.h"

enum reason {
    READ, UNKNOWN_LINK, UNKNOWN_ETHERTYPE, LLC, SHORT_LINK, TOO_MANY_TAGS, IP_VERSION, IPV4_HEADER, IPV4_LENGTH,
    IPV6_HEADER, IPV6_LENGTH, IPV6_EXTENSION, TCP_HEADER, UDP_HEADER, ICMP_HEADER, ARP_MESSAGE, NOT_CAPTURED,
    UNKNOWN_PPP, WIFI_MANAGEMENT, WIFI_CONTROL, WIFI_EMPTY, WIFI_ENCRYPTED, WIFI_PIECES, PAN_ACKNOWLEDGEMENT, PAN_OTHER,
    SCTP_HEADER,
};
enum link {
    LINK_NULL = 0, LINK_ETHERNET = 1, LINK_PPP = 9, LINK_PPP_HDLC = 50, LINK_PPP_ETHERNET = 51, LINK_CISCO_HDLC = 104,
    LINK_WIFI = 105, LINK_LOOP = 108, LINK_COOKED = 113, LINK_RADIOTAP = 127,
    LINK_PAN = 195, LINK_PAN_NONASK = 215, LINK_IPV4 = 228, LINK_IPV6 = 229, LINK_PAN_NO_CHECK = 230, LINK_COOKED_2 = 276, LINK_PAN_TAP = 283,
};
enum {
    TYPE_IPV4 = 0x0800, TYPE_ARP = 0x0806, TYPE_BRIDGED = 0x6558, TYPE_IPV6 = 0x86DD, TYPE_MPLS = 0x8847, TYPE_MPLS_UP = 0x8848,
    TYPE_PPPOE = 0x8864, TYPE_PPP = 0x880B,
};
enum { PORT_VXLAN = 4789, PORT_VXLAN_LINUX = 8472, PORT_GTP_U = 2152 };
enum { MAXIMUM_TAGS = 8, MAXIMUM_LABELS = 16, MAXIMUM_TUNNELS = 4 };

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
    if (has_ports(protocol)) {
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
    p->tcp_flags = read8(s.bytes, 13);
    p->tcp_window = read16(s.bytes, 14);
    set_payload(p, span_from(s, head), data);
    return READ;
}

static enum reason read_udp(struct packet *p, struct span s, const uint8_t *data) {
    enum reason short_of = need(s, 8, UDP_HEADER);
    if (short_of) return short_of;
    size_t size = read16(s.bytes, 4);
    if (size == 0) size = s.wire; /* jumbogram or offloaded */
    if (size < 8 || (size > s.wire && !p->fragment)) return UDP_HEADER;
    p->src_port = read16(s.bytes, 0);
    p->dst_port = read16(s.bytes, 2);
    set_payload(p, span_from(span_first(s, size), 8), data);
    return READ;
}

static enum reason read_sctp(struct packet *p, struct span s, const uint8_t *data) {
    enum reason short_of = need(s, 12, SCTP_HEADER);
    if (short_of) return short_of;
    p->src_port = read16(s.bytes, 0);
    p->dst_port = read16(s.bytes, 2);
    set_payload(p, span_from(s, 12), data);
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

/* ---- tunnels -------------------------------------------------------------------------------------------- */

static enum reason read_ipv4(struct packet *p, struct span s, const uint8_t *data);
static enum reason read_ipv6(struct packet *p, struct span s, const uint8_t *data);
static enum reason read_ip(struct packet *p, struct span s, const uint8_t *data);
static enum reason read_ppp(struct packet *p, struct span s, const uint8_t *data, uint16_t *detail);
static enum reason read_network(struct packet *p, uint16_t type, struct span s, const uint8_t *data, uint16_t *detail);
static enum reason read_ethernet(struct packet *p, struct span s, const uint8_t *data, uint16_t *detail);

static enum reason read_gre(struct packet *p, struct span s, const uint8_t *data) {
    uint16_t flags = read16(s.bytes, 0), type = read16(s.bytes, 2), unused;
    bool second = (flags & 7) == 1; /* PPTP's: its payload has a length, and may acknowledge */
    if ((flags & 7) > 1 || s.bytes.size < 4) return UNKNOWN_ETHERTYPE;
    size_t head = 4;
    if (flags & 0x8000 || flags & 0x4000) head += 4; /* checksum, or routing of RFC 1701 */
    if (flags & 0x2000) head += 4;
    if (flags & 0x1000) head += 4;
    if (second && flags & 0x0080) head += 4;
    struct span inner = span_from(s, head);
    return type == TYPE_PPP ? read_ppp(p, inner, data, &unused) : read_network(p, type, inner, data, &unused);
}

static enum reason read_vxlan(struct packet *p, struct span s, const uint8_t *data) {
    uint16_t unused;
    if (s.bytes.size < 8 || (read8(s.bytes, 0) & 0x08) == 0) return UNKNOWN_ETHERTYPE;
    p->tunnel_id = read32(s.bytes, 4) >> 8;
    return read_ethernet(p, span_from(s, 8), data, &unused);
}

static enum reason read_gtp_u(struct packet *p, struct span s, const uint8_t *data) {
    enum { G_PDU = 255, OPTIONAL = 7 };
    uint8_t flags = read8(s.bytes, 0);
    if (s.bytes.size < 8 || flags >> 4 != 3 || read8(s.bytes, 1) != G_PDU) return UNKNOWN_ETHERTYPE;
    size_t head = 8;
    if (flags & OPTIONAL) {
        uint8_t next = flags & 4 ? read8(s.bytes, 11) : 0;
        for (head = 12; next && head < s.bytes.size;) { /* extension headers, in units of four bytes */
            size_t size = (size_t)read8(s.bytes, head) * 4;
            if (size == 0) return UNKNOWN_ETHERTYPE;
            next = read8(s.bytes, head + size - 1);
            head += size;
        }
    }
    return read_ip(p, span_from(s, head), data);
}

/* Puts what the packet carries in its place, if that is a packet which can be read; `s` is the payload. */
static void enter_tunnel(struct packet *p, struct span s, const uint8_t *data) {
    bool udp = p->protocol == UDP;
    bool vxlan = udp && (p->dst_port == PORT_VXLAN || p->dst_port == PORT_VXLAN_LINUX);
    bool gtp_u = udp && (p->dst_port == PORT_GTP_U || p->src_port == PORT_GTP_U);
    bool tunnel = vxlan || gtp_u || p->protocol == IN_IPV4 || p->protocol == IN_IPV6 || p->protocol == IN_GRE;
    if (!tunnel || p->depth == MAXIMUM_TUNNELS || p->fragment) return;
    struct packet inner = {.time_ns = p->time_ns, .vlan = p->vlan, .quoted_protocol = NO_PROTOCOL, .depth = p->depth + 1u,
                           .has_src_mac = p->has_src_mac, .has_dst_mac = p->has_dst_mac};
    memcpy(inner.src_mac, p->src_mac, 6);
    memcpy(inner.dst_mac, p->dst_mac, 6);
    enum reason reason;
    if (vxlan) {
        inner.tunnel = VXLAN;
        reason = read_vxlan(&inner, s, data);
    } else if (gtp_u) {
        inner.tunnel = GTP_U;
        reason = read_gtp_u(&inner, s, data);
    } else if (p->protocol == IN_GRE) {
        inner.tunnel = GRE;
        reason = read_gre(&inner, s, data);
    } else if (p->protocol == IN_IPV4) {
        inner.tunnel = p->family == 4 ? IPV4_IN_IPV4 : IPV4_IN_IPV6;
        reason = read_ipv4(&inner, s, data);
    } else {
        inner.tunnel = p->family == 4 ? IPV6_IN_IPV4 : IPV6_IN_IPV6;
        reason = read_ipv6(&inner, s, data);
    }
    if (reason == READ) *p = inner;
}

static enum reason read_transport(struct packet *p, struct span s, const uint8_t *data) {
    if (p->fragment == LATER_FRAGMENT) {
        set_payload(p, s, data);
        return READ;
    }
    enum reason reason = READ;
    switch (p->protocol) {
        case TCP: return read_tcp(p, s, data);
        case UDP: reason = read_udp(p, s, data); break;
        case ICMP: case ICMP6: return read_icmp(p, s, data);
        case SCTP: return read_sctp(p, s, data);
        default: set_payload(p, s, data);
    }
    if (reason == READ) enter_tunnel(p, p->protocol == UDP ? span_from(s, 8) : s, data);
    return reason;
}

static void note_fragment(struct packet *p, bool later, uint32_t identification) {
    p->fragment = later ? LATER_FRAGMENT : FIRST_FRAGMENT;
    p->fragment_id = identification;
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
    p->ttl = read8(s.bytes, 8);
    p->protocol = read8(s.bytes, 9);
    p->network_bytes = (uint32_t)total;
    read_ipv4_address(s.bytes, 12, p->src);
    read_ipv4_address(s.bytes, 16, p->dst);
    if (fragment & 0x3FFF) note_fragment(p, fragment & 0x1FFF, read16(s.bytes, 4));
    return read_transport(p, span_from(span_first(s, total), head), data);
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
    p->ttl = read8(s.bytes, 7);
    read_bytes(s.bytes, 8, p->src, 16);
    read_bytes(s.bytes, 24, p->dst, 16);
    uint8_t next = read8(s.bytes, 6);
    struct span rest = span_from(s, 40);
    while (is_extension(next)) { /* each step consumes at least eight bytes */
        short_of = need(rest, 8, IPV6_EXTENSION);
        if (short_of) return short_of;
        uint8_t units = read8(rest.bytes, 1);
        size_t size = next == 44 ? 8 : next == 51 ? (units + 2u) * 4 : (units + 1u) * 8;
        if (size > rest.wire) return IPV6_EXTENSION;
        if (next == 44) {
            uint16_t fragment = read16(rest.bytes, 2);
            if (fragment & 0xFFF9) note_fragment(p, fragment & 0xFFF8, read32(rest.bytes, 4));
        }
        next = read8(rest.bytes, 0);
        rest = span_from(rest, size < 8 ? 8 : size);
        if (p->fragment == LATER_FRAGMENT) break;
    }
    p->protocol = next;
    return read_transport(p, rest, data);
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

/* RFC 1661's protocol numbers, after an address and control field or without, whole or in one byte. */
static enum reason read_ppp(struct packet *p, struct span s, const uint8_t *data, uint16_t *detail) {
    if (read16(s.bytes, 0) == 0xFF03) s = span_from(s, 2);
    enum reason short_of = need(s, 2, SHORT_LINK);
    if (short_of) return short_of;
    bool whole = (read8(s.bytes, 0) & 1) == 0;
    *detail = whole ? read16(s.bytes, 0) : read8(s.bytes, 0);
    s = span_from(s, whole ? 2 : 1);
    switch (*detail) {
        case 0x0021: return read_ipv4(p, s, data);
        case 0x0057: return read_ipv6(p, s, data);
        case 0x0281: return read_network(p, TYPE_MPLS, s, data, detail);
        default: return UNKNOWN_PPP;
    }
}

/* Nothing says what is under a stack of labels but its first half byte (RFC 4928). */
static enum reason read_mpls(struct packet *p, struct span s, const uint8_t *data, uint16_t *detail) {
    bool bottom = false;
    for (int labels = 0; !bottom; labels++) {
        if (labels == MAXIMUM_LABELS) return TOO_MANY_TAGS;
        enum reason short_of = need(s, 4, SHORT_LINK);
        if (short_of) return short_of;
        bottom = read8(s.bytes, 2) & 1;
        s = span_from(s, 4);
    }
    uint8_t first = read8(s.bytes, 0) >> 4;
    if (first == 4 || first == 6) return read_ip(p, s, data);
    if (p->depth++ == MAXIMUM_TUNNELS) return TOO_MANY_TAGS;
    return read_ethernet(p, first == 0 ? span_from(s, 4) : s, data, detail);
}

/* 802.2 with a SNAP header (RFC 1042), behind which an ethertype stands; anything else is no IP. */
static enum reason read_llc(struct packet *p, struct span s, const uint8_t *data, uint16_t *detail) {
    uint16_t type = read16(s.bytes, 6);
    if (read32(s.bytes, 0) != 0xAAAA0300 || read16(s.bytes, 4) != 0 || type < 0x0600) return LLC;
    return read_network(p, type, span_from(s, 8), data, detail);
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
        case TYPE_MPLS: case TYPE_MPLS_UP: return read_mpls(p, s, data, detail);
        case TYPE_PPPOE: return read_ppp(p, span_from(s, 6), data, detail);
        case TYPE_BRIDGED: return p->depth++ == MAXIMUM_TUNNELS ? TOO_MANY_TAGS : read_ethernet(p, s, data, detail);
        default: return type < 0x0600 ? read_llc(p, s, data, detail) : UNKNOWN_ETHERTYPE;
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

/* ---- wireless ------------------------------------------------------------------------------------------- */

/* A data frame of 802.11 that is not encrypted; `padded`: its payload is aligned to four bytes. */
static enum reason read_wifi(struct packet *p, struct span s, bool padded, const uint8_t *data, uint16_t *detail) {
    enum { MANAGEMENT, CONTROL, DATA };
    enum { TO_DS = 1, FROM_DS = 2, PROTECTED = 0x40, ORDER = 0x80, EMPTY = 4, QUALITY = 8, AGGREGATE = 0x80 };
    enum reason short_of = need(s, 2, SHORT_LINK);
    if (short_of) return short_of;
    uint8_t type = read8(s.bytes, 0) >> 2 & 3, subtype = read8(s.bytes, 0) >> 4, flags = read8(s.bytes, 1);
    if (type != DATA) return type == MANAGEMENT ? WIFI_MANAGEMENT : WIFI_CONTROL;
    if (subtype & EMPTY) return WIFI_EMPTY;
    if (flags & PROTECTED) return WIFI_ENCRYPTED;
    bool both = (flags & TO_DS) && (flags & FROM_DS), quality = subtype & QUALITY;
    size_t head = 24 + (both ? 6 : 0);
    if (quality) {
        if (read8(s.bytes, head) & AGGREGATE) return WIFI_PIECES;
        head += 2 + (flags & ORDER ? 4 : 0);
    }
    if (padded) head = (head + 3) & ~(size_t)3;
    short_of = need(s, head + 8, SHORT_LINK);
    if (short_of) return short_of;
    if (read8(s.bytes, 22) & 15) return WIFI_PIECES; /* not the first fragment */
    read_bytes(s.bytes, flags & TO_DS ? 16 : 4, p->dst_mac, 6);
    read_bytes(s.bytes, both ? 24 : flags & FROM_DS ? 16 : 10, p->src_mac, 6);
    p->has_src_mac = p->has_dst_mac = 1;
    return read_llc(p, span_from(s, head), data, detail);
}

/* radiotap.org: a header of fields that a bit each announces; of the first two, time and flags, only these matter. */
static enum reason read_radiotap(struct packet *p, struct span s, const uint8_t *data, uint16_t *detail) {
    enum { HAS_TIME = 1, HAS_FLAGS = 2, MORE = 0x80, PADDED = 0x20 };
    enum reason short_of = need(s, 8, SHORT_LINK);
    if (short_of) return short_of;
    size_t size = read16_little(s.bytes, 2), at = 4;
    while (read8(s.bytes, at + 3) & MORE && at < s.bytes.size) at += 4;
    uint8_t present = read8(s.bytes, 4);
    at += 4;
    if (present & HAS_TIME) at = ((at + 7) & ~(size_t)7) + 8;
    bool padded = present & HAS_FLAGS && read8(s.bytes, at) & PADDED;
    return size < 8 ? SHORT_LINK : read_wifi(p, span_from(s, size), padded, data, detail);
}

enum { PAN_ABSENT, PAN_RESERVED, PAN_SHORT, PAN_EXTENDED };

/* An address of 802.15.4: how long it is, its network, and its bytes as they are written. Returns the bytes read. */
static size_t read_pan_address(struct view v, size_t at, uint8_t mode, uint16_t network, uint8_t out[16]) {
    size_t size = mode == PAN_EXTENDED ? 8 : mode == PAN_SHORT ? 2 : 0;
    memset(out, 0, 16);
    out[5] = (uint8_t)size;
    out[6] = (uint8_t)(network >> 8);
    out[7] = (uint8_t)network;
    for (size_t i = 0; i < size; i++) out[15 - i] = read8(v, at + i);
    return size;
}

/* IEEE 802.15.4: who speaks to whom on the link. What higher layers say (6LoWPAN, Zigbee) is payload. */
static enum reason read_pan(struct packet *p, struct span s, size_t check, const uint8_t *data) {
    enum { ACKNOWLEDGEMENT = 2, COMMAND = 3 };
    enum reason short_of = need(s, 3, SHORT_LINK);
    if (short_of) return short_of;
    uint16_t control = read16_little(s.bytes, 0);
    uint8_t type = control & 7, dst = control >> 10 & 3, src = control >> 14, version = control >> 12 & 3;
    bool compressed = control >> 6 & 1, numbered = version < 2 || !(control >> 8 & 1);
    if (type == ACKNOWLEDGEMENT) return PAN_ACKNOWLEDGEMENT;
    if (type > COMMAND || dst == PAN_RESERVED || src == PAN_RESERVED || version == 3) return PAN_OTHER;
    bool has_dst = dst != PAN_ABSENT, has_src = src != PAN_ABSENT, extended = dst == PAN_EXTENDED && src == PAN_EXTENDED;
    bool dst_network = has_dst, src_network = has_src && !compressed;
    if (version == 2) { /* table 7-2 of the 2015 edition */
        if (has_dst && has_src) {
            dst_network = !(extended && compressed);
            src_network = !extended && !compressed;
        } else {
            dst_network = has_src ? false : has_dst != compressed;
            src_network = has_src && !compressed;
        }
    }
    size_t at = 2 + numbered;
    uint16_t network = 0;
    if (dst_network) network = read16_little(s.bytes, at), at += 2;
    at += read_pan_address(s.bytes, at, dst, network, p->dst);
    if (src_network) network = read16_little(s.bytes, at), at += 2;
    at += read_pan_address(s.bytes, at, src, network, p->src);
    short_of = need(s, at, SHORT_LINK);
    if (short_of) return short_of;
    if (!has_src && !has_dst) return PAN_OTHER;
    if (s.wire >= at + check) s = span_first(s, s.wire - check);
    p->family = 15;
    p->protocol = IEEE_802_15_4;
    p->network_bytes = (uint32_t)s.wire;
    set_payload(p, span_from(s, at), data);
    return READ;
}

/* github.com/jkcko/ieee802.15.4-tap: a header of typed values; type 0 says how long the frame's check sequence is. */
static enum reason read_pan_tap(struct packet *p, struct span s, const uint8_t *data) {
    enum reason short_of = need(s, 4, SHORT_LINK);
    if (short_of) return short_of;
    size_t size = read16_little(s.bytes, 2), check = 0;
    if (size < 4) return SHORT_LINK;
    struct view values = view_first(s.bytes, size);
    for (size_t at = 4; at + 4 < values.size; at += 4 + ((read16_little(values, at + 2) + 3u) & ~3u)) {
        if (read16_little(values, at) == 0) check = read8(values, at + 4) * 2u;
    }
    return read_pan(p, span_from(s, size), check, data);
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
        case LINK_PPP: case LINK_PPP_HDLC: return read_ppp(p, s, data, detail);
        case LINK_PPP_ETHERNET: return read_ppp(p, span_from(s, 6), data, detail);
        case LINK_CISCO_HDLC: return read_network(p, read16(s.bytes, 2), span_from(s, 4), data, detail);
        case LINK_WIFI: return read_wifi(p, s, false, data, detail);
        case LINK_RADIOTAP: return read_radiotap(p, s, data, detail);
        case LINK_PAN: return read_pan(p, s, 2, data);
        case LINK_PAN_NO_CHECK: return read_pan(p, s, 0, data);
        case LINK_PAN_NONASK: return read_pan(p, span_from(s, 6), 2, data);
        case LINK_PAN_TAP: return read_pan_tap(p, s, data);
        default: return UNKNOWN_LINK;
    }
}

uint8_t decode_packet(struct packet *p, const uint8_t *data, size_t size, const struct frame_columns *frames, int64_t row, uint16_t *detail) {
    struct view file = {data, size};
    struct span span = {view_first(view_from(file, (uint64_t)frames->offset[row]), frames->captured[row]), frames->length[row]};
    memset(p, 0, sizeof *p);
    p->time_ns = frames->time_ns[row];
    p->vlan = NO_VLAN;
    p->quoted_protocol = NO_PROTOCOL;
    return (uint8_t)read_frame(p, frames->link_type[row], span, data, detail);
}

/* Decodes the frames into `packets` (room for all); returns how many were read. `reasons` and `details` get
 * one entry a frame: why it was set aside (0: it was not) and the link type or ethertype. */
EXPORT int64_t wirespeak_decode(const uint8_t *data, size_t size, const struct frame_columns *frames,
                                struct packet *packets, uint8_t *reasons, uint16_t *details) {
    int64_t count = 0;
    for (int64_t i = 0; i < frames->count; i++) {
        reasons[i] = decode_packet(&packets[count], data, size, frames, i, &details[i]);
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
#define ROW ended_row
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

EXPORT size_t wirespeak_row_size(char table) { return table == 'p' ? sizeof(struct packet) : sizeof(struct ended_row); }
