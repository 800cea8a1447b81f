/* Frames to frames in which nobody can be recognised: the walk over link, network and transport headers.
 *
 * It goes where the decoder of headers.c goes, and writes what may stay onto a blank page. Only frames that the decoder reads
 * are written at all.
 *
 * Sources: those of headers.c; RFC 1071 and 1624 (checksums), 4861 (neighbour discovery), 3810 and 3376 (groups).
 */
#include "anonymise.h"

#include <stdlib.h>

enum {
    TYPE_IPV4 = 0x0800, TYPE_ARP = 0x0806, TYPE_BRIDGED = 0x6558, TYPE_IPV6 = 0x86DD, TYPE_MPLS = 0x8847, TYPE_MPLS_UP = 0x8848,
    TYPE_PPPOE = 0x8864, TYPE_PPP = 0x880B,
};
enum { PORT_VXLAN = 4789, PORT_VXLAN_LINUX = 8472, PORT_GTP_U = 2152 };
enum { MAXIMUM_TAGS = 8, MAXIMUM_LABELS = 16, MAXIMUM_TUNNELS = 4 };
enum { EXTENSION_HOPS = 0, EXTENSION_ROUTING = 43, EXTENSION_FRAGMENT = 44, EXTENSION_AH = 51, EXTENSION_DESTINATION = 60, EXTENSION_MOBILITY = 135 };

/* ---- identifiers onto the page ------------------------------------------------------------------------------ */

void put_ipv4(struct page *w, struct view v, size_t at) {
    if (at >= v.size || v.size - at < 4) return;
    stand_in(w->s, ID_IPV4, v.at + at, 4, place(w, v, at));
    w->tallies[T_IPV4]++;
}

void put_ipv6(struct page *w, struct view v, size_t at) {
    if (at >= v.size || v.size - at < 16) return;
    stand_in(w->s, ID_IPV6, v.at + at, 16, place(w, v, at));
    w->tallies[T_IPV6]++;
}

void put_mac(struct page *w, struct view v, size_t at) {
    if (at >= v.size || v.size - at < 6) return;
    stand_in(w->s, ID_MAC, v.at + at, 6, place(w, v, at));
    w->tallies[T_MAC]++;
}

/* A MAC, which repeats the group that the packet goes to where it is one of IP multicast (RFC 1112, 2464). */
static void put_group_mac(struct page *w, struct view v, size_t at, const struct goal *goal) {
    put_mac(w, v, at);
    if (at >= v.size || v.size - at < 6) return;
    const uint8_t *mac = v.at + at;
    uint8_t *out = place(w, v, at);
    bool four = goal->family == 4 && mac[0] == 1 && mac[1] == 0 && mac[2] == 0x5E && mac[3] == (goal->was[13] & 0x7F) &&
                mac[4] == goal->was[14] && mac[5] == goal->was[15];
    bool six = goal->family == 6 && mac[0] == 0x33 && mac[1] == 0x33 && memcmp(mac + 2, goal->was + 12, 4) == 0;
    if (four) {
        out[3] = goal->is[13] & 0x7F;
        memcpy(out + 4, goal->is + 14, 2);
    }
    if (six) memcpy(out + 2, goal->is + 12, 4);
}

/* ---- checksums --------------------------------------------------------------------------------------------- */

/* The sum of big-endian words, of an odd byte as the upper half of one; not yet folded. */
static uint64_t words_of(const uint8_t *at, size_t size) {
    uint64_t sum = 0;
    for (; size >= 4; at += 4, size -= 4) {
        uint32_t word;
        memcpy(&word, at, 4);
        sum += word;
    }
    uint32_t rest = 0;
    memcpy(&rest, at, size);
    return sum + rest; /* of little-endian halves, which only swaps the bytes of the folded sum (RFC 1071) */
}

static uint16_t folded(uint64_t sum) {
    while (sum >> 16) sum = (sum & 0xFFFF) + (sum >> 16);
    return __builtin_bswap16((uint16_t)sum);
}

/* Writes the checksum at `at` anew. `before` and `after`: sums of what it covers beside this view, as it was and as it is.
 * whole: whether the view holds all that it covers. Then a right one is right, and a wrong one is the right one with its lowest
 * bit turned, which tells nothing of what was covered. Else it is changed by what changed (RFC 1624). Zero stays zero. */
static void put_checksum(struct page *w, struct view v, size_t at, uint64_t before, uint64_t after, bool whole) {
    uint16_t was = read16(v, at), sum;
    if (was == 0 || v.size < at + 2) return;
    put16(w, v, at, 0);
    uint64_t in = before + words_of(v.at, v.size), out = after + words_of(place(w, v, 0), v.size);
    if (whole) {
        sum = (uint16_t)~folded(out);
        if (folded(in) != 0xFFFF) sum ^= 1;
    } else {
        uint64_t others = in + (uint16_t)~__builtin_bswap16(was); /* without itself: a word and its complement are nothing */
        sum = (uint16_t)~folded((uint64_t)(uint16_t)~__builtin_bswap16(was) + (uint16_t)~__builtin_bswap16(folded(others)) + out);
    }
    put16(w, v, at, sum ? sum : 0xFFFF);
}

/* ---- network --------------------------------------------------------------------------------------------------- */

/* What the layers above are told by an IP header. */
struct above {
    uint64_t before, after; /* sums of the addresses */
    uint8_t family, fragment;
    uint16_t protocol;
};

static bool walk_ipv4(struct page *w, struct span s);
static bool walk_ipv6(struct page *w, struct span s);
static bool walk_ip(struct page *w, struct span s);
static bool walk_ppp(struct page *w, struct span s);
static bool walk_network(struct page *w, uint16_t type, struct span s);
static bool walk_ethernet(struct page *w, struct span s);

static void put_payload(struct page *w, struct span s, uint16_t protocol, uint16_t src_port, uint16_t dst_port) {
    if (w->quoted) return;
    if (w->mode == KEEP) keep(w, s.bytes, 0, s.bytes.size);
    if (w->mode == CUT) w->cut = (size_t)(s.bytes.at - w->in);
    if (w->mode == SCRUB) scrub_payload(w, s, w->blank ? NO_PROTOCOL : protocol, src_port, dst_port);
}

static void put_tcp_options(struct page *w, struct view v) {
    enum { END, NOP, MSS, SCALE, MAY_SACK, SACK };
    for (size_t at = 0; at < v.size;) {
        uint8_t kind = read8(v, at), size = kind <= NOP ? 1 : read8(v, at + 1);
        if (size == 0 || kind == END || (kind > NOP && size < 2)) return;
        bool stays = kind == MSS || kind == SCALE || kind == MAY_SACK || kind == SACK;
        keep(w, view_first(v, at + size), at, stays ? size : kind == NOP ? 1 : 2);
        at += size;
    }
}

static uint64_t pseudo(uint64_t addresses, size_t size, uint16_t protocol) {
    return addresses + __builtin_bswap16((uint16_t)size) + __builtin_bswap16((uint16_t)(size >> 16)) + __builtin_bswap16(protocol);
}

static void put_transport_checksum(struct page *w, struct span s, size_t at, const struct above *above) {
    bool whole = s.bytes.size >= s.wire && above->fragment == WHOLE && !w->quoted;
    struct view v = view_first(s.bytes, s.wire);
    put_checksum(w, v, at, pseudo(above->before, s.wire, above->protocol), pseudo(above->after, s.wire, above->protocol), whole);
}

static bool walk_tcp(struct page *w, struct span s, const struct above *above) {
    size_t head = (size_t)(read8(s.bytes, 12) >> 4) * 4;
    keep(w, s.bytes, 0, w->quoted ? 8 : 20);
    if (w->quoted && s.bytes.size < 18) return true;
    if (s.bytes.size < 20 || head < 20 || head > s.wire) return w->quoted;
    keep(w, s.bytes, 0, 20);
    put_tcp_options(w, view_from(view_first(s.bytes, head), 20));
    put_payload(w, span_from(s, head), TCP, read16(s.bytes, 0), read16(s.bytes, 2));
    put_transport_checksum(w, s, 16, above);
    return true;
}

/* What is in GRE. What cannot be read in it is the payload of the outer packet. */
static bool walk_gre(struct page *w, struct span s) {
    uint16_t flags = read16(s.bytes, 0), type = read16(s.bytes, 2);
    bool second = (flags & 7) == 1;
    if ((flags & 7) > 1 || s.bytes.size < 4) return false;
    size_t head = 4, check = flags & 0xC000 ? 4 : 0;
    head += check + (flags & 0x2000 ? 4 : 0) + (flags & 0x1000 ? 4 : 0) + (second && flags & 0x0080 ? 4 : 0);
    if (s.bytes.size < head) return false;
    keep(w, s.bytes, 0, head);
    struct span inner = span_from(s, head);
    bool read = type == TYPE_PPP ? walk_ppp(w, inner) : walk_network(w, type, inner);
    if (read && flags & 0x8000) put_checksum(w, view_first(s.bytes, s.wire), 4, 0, 0, s.bytes.size >= s.wire);
    return read;
}

static bool walk_vxlan(struct page *w, struct span s) {
    if (s.bytes.size < 8 || (read8(s.bytes, 0) & 0x08) == 0) return false;
    keep(w, s.bytes, 0, 8);
    return walk_ethernet(w, span_from(s, 8));
}

static bool walk_gtp_u(struct page *w, struct span s) {
    enum { G_PDU = 255, OPTIONAL = 7 };
    uint8_t flags = read8(s.bytes, 0);
    if (s.bytes.size < 8 || flags >> 4 != 3 || read8(s.bytes, 1) != G_PDU) return false;
    keep(w, s.bytes, 0, 4);
    if (read32(s.bytes, 4)) { /* the tunnel is a subscriber's */
        uint8_t tunnel[4];
        memcpy(tunnel, s.bytes.at + 4, 4);
        stand_in(w->s, ID_TUNNEL, tunnel, 4, place(w, s.bytes, 4));
        w->tallies[T_OTHER]++;
    }
    size_t head = 8;
    if (flags & OPTIONAL) {
        uint8_t next = flags & 4 ? read8(s.bytes, 11) : 0;
        keep(w, s.bytes, 8, 4);
        for (head = 12; next && head < s.bytes.size;) {
            size_t size = (size_t)read8(s.bytes, head) * 4;
            if (size == 0) return false;
            keep(w, s.bytes, head, 1);
            keep(w, s.bytes, head + size - 1, 1);
            next = read8(s.bytes, head + size - 1);
            head += size;
        }
    }
    return walk_ip(w, span_from(s, head));
}

/* Writes what is in a tunnel, if the payload is one that can be read; else leaves it blank. */
static bool enter_tunnel(struct page *w, struct span s, const struct above *above, uint16_t src_port, uint16_t dst_port) {
    bool udp = above->protocol == UDP;
    bool vxlan = udp && (dst_port == PORT_VXLAN || dst_port == PORT_VXLAN_LINUX);
    bool gtp_u = udp && (dst_port == PORT_GTP_U || src_port == PORT_GTP_U);
    bool tunnel = vxlan || gtp_u || above->protocol == IN_IPV4 || above->protocol == IN_IPV6 || above->protocol == IN_GRE;
    if (!tunnel || w->depth == MAXIMUM_TUNNELS || above->fragment || w->quoted) return false;
    struct goal unused = {0}, *goal = w->goal;
    int depth = w->depth++;
    size_t cut = w->cut;
    w->goal = &unused;
    bool read = vxlan                          ? walk_vxlan(w, s)
                : gtp_u                        ? walk_gtp_u(w, s)
                : above->protocol == IN_GRE    ? walk_gre(w, s)
                : above->protocol == IN_IPV4   ? walk_ipv4(w, s)
                                               : walk_ipv6(w, s);
    w->goal = goal;
    w->depth = depth;
    if (!read) {
        if (s.bytes.size) memset(place(w, s.bytes, 0), 0, s.bytes.size);
        w->cut = cut;
    }
    return read;
}

static bool walk_udp(struct page *w, struct span s, const struct above *above) {
    size_t size = read16(s.bytes, 4);
    keep(w, s.bytes, 0, 8);
    if (s.bytes.size < 8) return w->quoted;
    if (size == 0) size = s.wire;
    if (size < 8 || (size > s.wire && !above->fragment)) return w->quoted;
    uint16_t src_port = read16(s.bytes, 0), dst_port = read16(s.bytes, 2);
    struct span inner = span_from(s, 8), payload = span_from(span_first(s, size), 8);
    if (!enter_tunnel(w, inner, above, src_port, dst_port)) {
        if (above->fragment) put_payload(w, payload, NO_PROTOCOL, 0, 0);
        else put_payload(w, payload, UDP, src_port, dst_port);
    }
    bool changed = above->fragment && w->mode != KEEP;
    if (changed && above->family == 4) put16(w, s.bytes, 6, 0); /* it covers fragments that change too: none is allowed */
    else put_transport_checksum(w, span_first(s, size), 6, above);
    return true;
}

/* CRC32c (RFC 9260, appendix A) of bytes, four of them at `at` taken for zero. */
static uint32_t sctp_checksum(const uint8_t *bytes, size_t size, size_t at) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= i >= at && i < at + 4 ? 0 : bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82F63B78) : 0);
    }
    return ~crc;
}

/* What the chunks carry is blank; their headers stay, and of data what numbers it. */
static void put_chunks(struct page *w, struct view v) {
    enum { HEAD = 4, DATA = 0, DATA_HEAD = 16 };
    for (size_t at = 0; at + HEAD <= v.size;) {
        size_t size = read16(v, at + 2);
        keep(w, v, at, read8(v, at) == DATA && size >= DATA_HEAD ? DATA_HEAD : HEAD);
        if (size < HEAD) return;
        at += (size + 3) & ~(size_t)3;
    }
}

/* A checksum that covers what is not here is zero; a wrong one is the right one with its lowest bit turned. */
static bool walk_sctp(struct page *w, struct span s, const struct above *above) {
    enum { HEAD = 12, CHECKSUM = 8 };
    keep(w, s.bytes, 0, w->quoted ? CHECKSUM : HEAD);
    if (w->quoted || s.bytes.size < HEAD) return w->quoted;
    put_payload(w, span_from(s, HEAD), NO_PROTOCOL, 0, 0);
    if (w->mode != SCRUB) return true;
    struct view v = view_first(s.bytes, s.wire);
    put_chunks(w, view_from(v, HEAD));
    uint32_t was, is = 0;
    memcpy(&was, v.at + CHECKSUM, sizeof was);
    if (v.size == s.wire && above->fragment == WHOLE) {
        is = sctp_checksum(place(w, v, 0), v.size, CHECKSUM);
        if (was != sctp_checksum(v.at, v.size, CHECKSUM)) is ^= 1;
    }
    memcpy(place(w, v, CHECKSUM), &is, sizeof is);
    return true;
}

/* Options of neighbour discovery. */
static void put_neighbour_options(struct page *w, struct view v, size_t at) {
    enum { SOURCE = 1, TARGET = 2, PREFIX = 3, REDIRECTED = 4, MTU = 5, NONCE = 14, ROUTE = 24, RESOLVERS = 25 };
    while (at + 8 <= v.size && read8(v, at + 1)) {
        uint8_t kind = read8(v, at);
        size_t size = (size_t)read8(v, at + 1) * 8;
        keep(w, v, at, 2);
        if (size > v.size - at) return;
        if (kind == SOURCE || kind == TARGET) put_mac(w, v, at + 2);
        if (kind == MTU) keep(w, v, at, 8);
        if (kind == PREFIX && size == 32) {
            keep(w, v, at, 16);
            put_ipv6(w, v, at + 16);
            uint8_t bits = read8(v, at + 2), *prefix = place(w, v, at + 16);
            for (int i = bits > 128 ? 128 : bits; i < 128; i++) prefix[i / 8] &= (uint8_t)~(0x80 >> i % 8);
        }
        if (kind == RESOLVERS) {
            keep(w, v, at, 8);
            for (size_t k = 8; k + 16 <= size; k += 16) put_ipv6(w, v, at + k);
        }
        at += size;
    }
}

/* Records of a group report: each group, and the sources that are wanted of it. */
static void put_records(struct page *w, struct view v, size_t at, size_t size, unsigned count) {
    void (*address)(struct page *, struct view, size_t) = size == 4 ? put_ipv4 : put_ipv6;
    for (; count && at + 4 + size <= v.size; count--) {
        unsigned sources = read16(v, at + 2), words = read8(v, at + 1);
        keep(w, v, at, 4);
        address(w, v, at + 4);
        at += 4 + size;
        for (; sources && at + size <= v.size; sources--, at += size) address(w, v, at);
        at += words * 4;
    }
}

/* The packet that an ICMP error quotes, as far as it was captured. */
static void put_quoted(struct page *w, struct view v) {
    bool quoted = w->quoted;
    struct goal unused = {0}, *goal = w->goal;
    if (quoted) return;
    w->quoted = true;
    w->goal = &unused;
    walk_ip(w, (struct span){v, v.size});
    w->goal = goal;
    w->quoted = quoted;
}

static void put_icmp_body(struct page *w, struct view v, uint16_t protocol) {
    uint8_t type = read8(v, 0);
    bool six = protocol == ICMP6, redirect = !six && type == 5;
    bool error = six ? type < 128 : type == 3 || type == 11 || type == 12 || type == 4;
    bool numbered = six ? type == 128 || type == 129 : type == 0 || type == 8 || (type >= 13 && type <= 18);
    if (error || redirect) {
        if (redirect) put_ipv4(w, v, 4);
        else keep(w, v, 4, 4);
        put_quoted(w, view_from(v, 8));
    } else if (numbered) {
        keep(w, v, 4, 4);
    } else if (!six && type == 9) { /* router advertisement: RFC 1256 */
        keep(w, v, 4, 4);
        for (size_t at = 8; at + 8 <= v.size; at += 8) put_ipv4(w, v, at), keep(w, v, at + 4, 4);
    } else if (six && type >= 130 && type <= 132) {
        keep(w, v, 4, 4);
        put_ipv6(w, v, 8);
        keep(w, v, 24, 4);
        for (size_t at = 28; type == 130 && at + 16 <= v.size; at += 16) put_ipv6(w, v, at);
    } else if (six && type == 133) {
        put_neighbour_options(w, v, 8);
    } else if (six && type == 134) {
        keep(w, v, 4, 12);
        put_neighbour_options(w, v, 16);
    } else if (six && (type == 135 || type == 136 || type == 137)) {
        keep(w, v, 4, 4);
        put_ipv6(w, v, 8);
        if (type == 137) put_ipv6(w, v, 24);
        put_neighbour_options(w, v, type == 137 ? 40 : 24);
    } else if (six && type == 143) {
        keep(w, v, 4, 4);
        put_records(w, v, 8, 16, read16(v, 6));
    }
}

static bool walk_icmp(struct page *w, struct span s, const struct above *above) {
    if (s.bytes.size < 4) return w->quoted;
    keep(w, s.bytes, 0, 4);
    if (w->mode == KEEP) keep(w, s.bytes, 4, s.bytes.size);
    if (w->mode == CUT && !w->quoted) w->cut = (size_t)(s.bytes.at - w->in) + (s.bytes.size < 8 ? s.bytes.size : 8);
    if (!w->blank) put_icmp_body(w, view_first(s.bytes, s.wire), above->protocol);
    struct above none = *above;
    if (above->protocol == ICMP) { /* its checksum covers no addresses */
        none.before = none.after = 0;
        put_checksum(w, view_first(s.bytes, s.wire), 2, 0, 0, s.bytes.size >= s.wire && !above->fragment && !w->quoted);
    } else {
        put_transport_checksum(w, s, 2, above);
    }
    return true;
}

static void put_igmp(struct page *w, struct span s) {
    struct view v = view_first(s.bytes, s.wire);
    keep(w, v, 0, 4);
    if (read8(v, 0) == 0x22) {
        keep(w, v, 4, 4);
        put_records(w, v, 8, 4, read16(v, 6));
    } else {
        put_ipv4(w, v, 4);
        keep(w, v, 8, 4);
        for (size_t at = 12; at + 4 <= v.size && read8(v, 0) == 0x11; at += 4) put_ipv4(w, v, at);
    }
    put_checksum(w, v, 2, 0, 0, s.bytes.size >= s.wire);
}

static bool walk_transport(struct page *w, struct span s, const struct above *above) {
    if (above->fragment == LATER_FRAGMENT) {
        put_payload(w, s, NO_PROTOCOL, 0, 0);
        return true;
    }
    switch (above->protocol) {
        case TCP: return walk_tcp(w, s, above);
        case UDP: return walk_udp(w, s, above);
        case ICMP: case ICMP6: return walk_icmp(w, s, above);
        case SCTP: return walk_sctp(w, s, above);
        default: break;
    }
    if (enter_tunnel(w, s, above, 0, 0)) return true;
    put_payload(w, s, NO_PROTOCOL, 0, 0);
    if (above->protocol == IGMP && w->mode != CUT && !w->quoted) put_igmp(w, s);
    return true;
}

static void set_goal(struct page *w, struct view v, size_t at, uint8_t family) {
    if (!w->goal || w->goal->family) return;
    size_t size = family == 4 ? 4 : 16;
    w->goal->family = family;
    read_bytes(v, at, w->goal->was + 16 - size, size);
    memcpy(w->goal->is + 16 - size, place(w, v, at), size);
}

static bool walk_ipv4(struct page *w, struct span s) {
    enum { ROUTER_ALERT = 148 };
    size_t head = (size_t)(read8(s.bytes, 0) & 15) * 4, total = read16(s.bytes, 2);
    if (s.bytes.size < 20 || read8(s.bytes, 0) >> 4 != 4 || head < 20) return false;
    if (total == 0) total = s.wire;
    if (!w->quoted && (total < head || total > s.wire)) return false;
    keep(w, s.bytes, 0, 12);
    put_ipv4(w, s.bytes, 12);
    put_ipv4(w, s.bytes, 16);
    set_goal(w, s.bytes, 16, 4);
    struct view options = view_from(view_first(s.bytes, head), 20);
    if (options.size) memset(place(w, options, 0), 1, options.size); /* no operation */
    if (read8(options, 0) == ROUTER_ALERT) keep(w, options, 0, 4);
    put_checksum(w, view_first(s.bytes, head), 10, 0, 0, s.bytes.size >= head);
    uint16_t fragment = read16(s.bytes, 6);
    struct above above = {
        .before = words_of(s.bytes.at + 12, 8), .after = words_of(place(w, s.bytes, 12), 8), .family = 4, .protocol = read8(s.bytes, 9),
        .fragment = fragment & 0x3FFF ? fragment & 0x1FFF ? LATER_FRAGMENT : FIRST_FRAGMENT : WHOLE,
    };
    return walk_transport(w, span_from(w->quoted ? s : span_first(s, total), head), &above);
}

/* Options of hops or the destination: what pads and alerts routers stays. */
static void put_extension_options(struct page *w, struct view v) {
    enum { PAD = 0, PADS = 1, ALERT = 5 };
    for (size_t at = 2; at < v.size;) {
        uint8_t kind = read8(v, at);
        size_t size = kind == PAD ? 1 : read8(v, at + 1) + 2u;
        keep(w, view_first(v, at + size), at, kind == ALERT ? size : kind == PAD ? 1 : 2);
        at += size;
    }
}

static bool walk_ipv6(struct page *w, struct span s) {
    if (s.bytes.size < 40 || read8(s.bytes, 0) >> 4 != 6) return false;
    size_t total = 40u + read16(s.bytes, 4);
    if (total == 40 && read8(s.bytes, 6) == 0) total = s.wire;
    if (!w->quoted && total > s.wire) return false;
    if (!w->quoted) s = span_first(s, total);
    uint8_t first[4] = {read8(s.bytes, 0), read8(s.bytes, 1) & 0xF0}; /* a flow label is drawn from what a host keeps secret */
    put(w, s.bytes, 0, first, 4);
    keep(w, s.bytes, 4, 4);
    put_ipv6(w, s.bytes, 8);
    put_ipv6(w, s.bytes, 24);
    set_goal(w, s.bytes, 24, 6);
    struct above above = {.before = words_of(s.bytes.at + 8, 32), .after = words_of(place(w, s.bytes, 8), 32), .family = 6};
    uint8_t next = read8(s.bytes, 6);
    struct span rest = span_from(s, 40);
    while (next == EXTENSION_HOPS || next == EXTENSION_ROUTING || next == EXTENSION_FRAGMENT || next == EXTENSION_AH || next == EXTENSION_DESTINATION ||
           next == EXTENSION_MOBILITY) {
        if (rest.bytes.size < 8) return w->quoted;
        uint8_t units = read8(rest.bytes, 1);
        size_t size = next == EXTENSION_FRAGMENT ? 8 : next == EXTENSION_AH ? (units + 2u) * 4 : (units + 1u) * 8;
        if (size > rest.wire) return w->quoted;
        struct view v = view_first(rest.bytes, size);
        keep(w, v, 0, next == EXTENSION_FRAGMENT || next == EXTENSION_ROUTING ? 8 : 2);
        if (next == EXTENSION_HOPS || next == EXTENSION_DESTINATION) put_extension_options(w, v);
        for (size_t at = 8; next == EXTENSION_ROUTING && at + 16 <= size; at += 16) put_ipv6(w, v, at);
        uint16_t fragment = read16(rest.bytes, 2);
        if (next == EXTENSION_FRAGMENT && fragment & 0xFFF9) above.fragment = fragment & 0xFFF8 ? LATER_FRAGMENT : FIRST_FRAGMENT;
        next = read8(rest.bytes, 0);
        rest = span_from(rest, size < 8 ? 8 : size);
        if (above.fragment == LATER_FRAGMENT) break;
    }
    above.protocol = next;
    return walk_transport(w, rest, &above);
}

static bool walk_ip(struct page *w, struct span s) {
    return s.bytes.size && (read8(s.bytes, 0) >> 4 == 6 ? walk_ipv6(w, s) : walk_ipv4(w, s));
}

static bool walk_arp(struct page *w, struct span s) {
    struct view v = s.bytes;
    if (v.size < 28 || read16(v, 2) != TYPE_IPV4 || read8(v, 4) != 6 || read8(v, 5) != 4) return false;
    keep(w, v, 0, 8);
    put_mac(w, v, 8);
    put_ipv4(w, v, 14);
    put_mac(w, v, 18);
    put_ipv4(w, v, 24);
    if (w->mode == CUT) w->cut = (size_t)(v.at - w->in) + 28;
    return true;
}

/* ---- links ------------------------------------------------------------------------------------------------- */

static bool walk_ppp(struct page *w, struct span s) {
    if (read16(s.bytes, 0) == 0xFF03) {
        keep(w, s.bytes, 0, 2);
        s = span_from(s, 2);
    }
    if (s.bytes.size < 2) return false;
    bool whole = (read8(s.bytes, 0) & 1) == 0;
    uint16_t protocol = whole ? read16(s.bytes, 0) : read8(s.bytes, 0);
    keep(w, s.bytes, 0, whole ? 2 : 1);
    s = span_from(s, whole ? 2 : 1);
    switch (protocol) {
        case 0x0021: return walk_ipv4(w, s);
        case 0x0057: return walk_ipv6(w, s);
        case 0x0281: return walk_network(w, TYPE_MPLS, s);
        default: return false;
    }
}

static bool walk_mpls(struct page *w, struct span s) {
    bool bottom = false;
    for (int labels = 0; !bottom; labels++) {
        if (labels == MAXIMUM_LABELS || s.bytes.size < 4) return false;
        bottom = read8(s.bytes, 2) & 1;
        keep(w, s.bytes, 0, 4);
        s = span_from(s, 4);
    }
    uint8_t first = read8(s.bytes, 0) >> 4;
    if (first == 4 || first == 6) return walk_ip(w, s);
    if (w->depth++ == MAXIMUM_TUNNELS) return false;
    if (first == 0) keep(w, s.bytes, 0, 4);
    return walk_ethernet(w, first == 0 ? span_from(s, 4) : s);
}

static bool walk_llc(struct page *w, struct span s) {
    uint16_t type = read16(s.bytes, 6);
    if (read32(s.bytes, 0) != 0xAAAA0300 || read16(s.bytes, 4) != 0 || type < 0x0600) return false;
    keep(w, s.bytes, 0, 8);
    return walk_network(w, type, span_from(s, 8));
}

static bool walk_network(struct page *w, uint16_t type, struct span s) {
    for (int tags = 0; type == 0x8100 || type == 0x88A8 || type == 0x9100; tags++) {
        if (tags == MAXIMUM_TAGS || s.bytes.size < 4) return false;
        type = read16(s.bytes, 2);
        keep(w, s.bytes, 0, 4);
        s = span_from(s, 4);
    }
    switch (type) {
        case TYPE_IPV4: return walk_ipv4(w, s);
        case TYPE_IPV6: return walk_ipv6(w, s);
        case TYPE_ARP: return walk_arp(w, s);
        case TYPE_MPLS: case TYPE_MPLS_UP: return walk_mpls(w, s);
        case TYPE_PPPOE: keep(w, s.bytes, 0, 6); return walk_ppp(w, span_from(s, 6));
        case TYPE_BRIDGED: return w->depth++ != MAXIMUM_TUNNELS && walk_ethernet(w, s);
        default: return type < 0x0600 && walk_llc(w, s);
    }
}

static bool walk_ethernet(struct page *w, struct span s) {
    struct goal goal = {0}, *outer = w->goal;
    if (s.bytes.size < 14) return false;
    w->goal = &goal;
    keep(w, s.bytes, 12, 2);
    bool read = walk_network(w, read16(s.bytes, 12), span_from(s, 14));
    w->goal = outer;
    put_group_mac(w, s.bytes, 0, &goal);
    put_group_mac(w, s.bytes, 6, &goal);
    return read;
}

static bool walk_cooked(struct page *w, struct span s, bool second) {
    if (s.bytes.size < (second ? 20u : 16u)) return false;
    uint16_t size = second ? read8(s.bytes, 11) : read16(s.bytes, 4);
    if (second) {
        keep(w, s.bytes, 0, 12);
        if (size == 6) put_mac(w, s.bytes, 12);
        return walk_network(w, read16(s.bytes, 0), span_from(s, 20));
    }
    keep(w, s.bytes, 0, 6);
    if (size == 6) put_mac(w, s.bytes, 6);
    keep(w, s.bytes, 14, 2);
    return walk_network(w, read16(s.bytes, 14), span_from(s, 16));
}

static bool walk_wifi(struct page *w, struct span s, bool padded) {
    enum { TO_DS = 1, FROM_DS = 2, ORDER = 0x80, QUALITY = 8 };
    uint8_t subtype = read8(s.bytes, 0) >> 4, flags = read8(s.bytes, 1);
    bool both = (flags & TO_DS) && (flags & FROM_DS);
    size_t head = 24 + (both ? 6 : 0);
    keep(w, s.bytes, 0, 4);
    keep(w, s.bytes, 22, 2);
    if (subtype & QUALITY) {
        keep(w, s.bytes, head, 2);
        head += 2 + (flags & ORDER ? 4 : 0);
    }
    if (padded) head = (head + 3) & ~(size_t)3;
    struct goal goal = {0};
    w->goal = &goal;
    bool read = walk_llc(w, span_from(s, head));
    w->goal = NULL;
    for (size_t at = 4; at <= 16; at += 6) put_group_mac(w, s.bytes, at, &goal);
    if (both) put_group_mac(w, s.bytes, 24, &goal);
    return read;
}

/* Of radiotap its shape and its flags stay; what was measured on the air is blank. */
static bool walk_radiotap(struct page *w, struct span s) {
    enum { HAS_TIME = 1, HAS_FLAGS = 2, MORE = 0x80, PADDED = 0x20 };
    size_t size = read16_little(s.bytes, 2), at = 4;
    while (read8(s.bytes, at + 3) & MORE && at < s.bytes.size) at += 4;
    uint8_t present = read8(s.bytes, 4);
    at += 4;
    keep(w, view_first(s.bytes, size), 0, at);
    if (present & HAS_TIME) at = ((at + 7) & ~(size_t)7) + 8;
    if (present & HAS_FLAGS) keep(w, view_first(s.bytes, size), at, 1);
    return size >= 8 && walk_wifi(w, span_from(s, size), present & HAS_FLAGS && read8(s.bytes, at) & PADDED);
}

/* ---- 802.15.4 ------------------------------------------------------------------------------------------------- */

enum { PAN_ABSENT, PAN_RESERVED, PAN_SHORT, PAN_EXTENDED };

/* A network's number or an address, which are written from their last byte on. */
static void put_pan(struct page *w, struct view v, size_t at, size_t size) {
    if (at >= v.size || v.size - at < size) return;
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++) bytes[size - 1 - i] = v.at[at + i];
    stand_in(w->s, size == 2 ? ID_SHORT : ID_EUI64, bytes, size, bytes);
    for (size_t i = 0; i < size; i++) place(w, v, at)[i] = bytes[size - 1 - i];
    w->tallies[T_OTHER]++;
}

static uint16_t frame_check(const uint8_t *at, size_t size) { /* 802.15.4, 7.2.10 */
    uint16_t code = 0;
    for (size_t i = 0; i < size; i++) {
        code ^= at[i];
        for (int bit = 0; bit < 8; bit++) code = (uint16_t)(code & 1 ? code >> 1 ^ 0x8408 : code >> 1);
    }
    return code;
}

static bool walk_pan(struct page *w, struct span s, size_t check) {
    uint16_t control = read16_little(s.bytes, 0);
    uint8_t dst = control >> 10 & 3, src = control >> 14, version = control >> 12 & 3;
    bool compressed = control >> 6 & 1, numbered = version < 2 || !(control >> 8 & 1);
    bool has_dst = dst != PAN_ABSENT, has_src = src != PAN_ABSENT, extended = dst == PAN_EXTENDED && src == PAN_EXTENDED;
    bool dst_network = has_dst, src_network = has_src && !compressed;
    if (version == 2) {
        if (has_dst && has_src) {
            dst_network = !(extended && compressed);
            src_network = !extended && !compressed;
        } else {
            dst_network = has_src ? false : has_dst != compressed;
        }
    }
    size_t at = 2u + numbered;
    keep(w, s.bytes, 0, at);
    if (dst_network) put_pan(w, s.bytes, at, 2), at += 2;
    size_t size = dst == PAN_EXTENDED ? 8 : dst == PAN_SHORT ? 2 : 0;
    if (size) put_pan(w, s.bytes, at, size), at += size;
    if (src_network) put_pan(w, s.bytes, at, 2), at += 2;
    size = src == PAN_EXTENDED ? 8 : src == PAN_SHORT ? 2 : 0;
    if (size) put_pan(w, s.bytes, at, size), at += size;
    bool checked = check == 2 && s.wire >= at + 2 && s.bytes.size == s.wire;
    put_payload(w, span_from(check && s.wire >= at + check ? span_first(s, s.wire - check) : s, at), NO_PROTOCOL, 0, 0);
    size_t end = s.wire - 2;
    if (checked && w->mode != CUT && frame_check(s.bytes.at, end) == read16_little(s.bytes, end)) {
        put16(w, s.bytes, end, __builtin_bswap16(frame_check(place(w, s.bytes, 0), end)));
    }
    return true;
}

static bool walk_pan_tap(struct page *w, struct span s) {
    size_t size = read16_little(s.bytes, 2), check = 0;
    struct view values = view_first(s.bytes, size);
    keep(w, values, 0, 4);
    for (size_t at = 4; at + 4 < values.size; at += 4 + ((read16_little(values, at + 2) + 3u) & ~3u)) {
        keep(w, values, at, 4);
        if (read16_little(values, at) != 0) continue; /* what was measured on the air */
        keep(w, values, at, 8);
        check = read8(values, at + 4) * 2u;
    }
    return walk_pan(w, span_from(s, size), check);
}

/* ---- frames ------------------------------------------------------------------------------------------------- */

static bool walk_frame(struct page *w, uint16_t link, struct span s) {
    switch (link) {
        case 1: return walk_ethernet(w, s);
        case 113: return walk_cooked(w, s, false);
        case 276: return walk_cooked(w, s, true);
        case 0: case 108: keep(w, s.bytes, 0, 4); return walk_ip(w, span_from(s, 4));
        case 12: case 14: case 101: return walk_ip(w, s);
        case 228: return walk_ipv4(w, s);
        case 229: return walk_ipv6(w, s);
        case 9: case 50: return walk_ppp(w, s);
        case 51: keep(w, s.bytes, 0, 6); return walk_ppp(w, span_from(s, 6));
        case 104: keep(w, s.bytes, 0, 4); return walk_network(w, read16(s.bytes, 2), span_from(s, 4));
        case 105: return walk_wifi(w, s, false);
        case 127: return walk_radiotap(w, s);
        case 195: return walk_pan(w, s, 2);
        case 230: return walk_pan(w, s, 0);
        case 215: return walk_pan(w, span_from(s, 6), 2);
        case 283: return walk_pan_tap(w, s);
        default: return false;
    }
}

enum { NOT_FOLLOWED = 255, DRAWERS = 32 };

struct anonymiser {
    struct standins s;
    enum payload_mode mode;
    uint64_t tallies[TALLIES], packets[DRAWERS], bytes[DRAWERS];
};

EXPORT void wirespeak_anonymise_end(struct anonymiser *a) {
    if (a) standins_end(&a->s);
    free(a);
}

EXPORT struct anonymiser *wirespeak_anonymise_start(const struct keys *keys, int32_t mode, bool plain, bool keep_vendor, uint64_t seed) {
    struct anonymiser *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->mode = (enum payload_mode)mode;
    if (standins_start(&a->s, keys, plain, keep_vendor, seed)) return a;
    wirespeak_anonymise_end(a);
    return NULL;
}

/* Writes what stands for the frames to `out`, of the size of `data` and blank, each where it was. `blank` marks those whose payload
 * is not to be written. `captured` gets the bytes of each that are left, `reasons` and `details` why it is to be left out. False
 * without memory. */
EXPORT bool wirespeak_anonymise_frames(struct anonymiser *a, const uint8_t *data, size_t size, const struct frame_columns *frames, const bool *blank,
                                       uint8_t *out, uint32_t *captured, uint8_t *reasons, uint16_t *details) {
    struct view file = {data, size};
    for (int64_t i = 0; i < frames->count; i++) {
        struct packet packet;
        reasons[i] = decode_packet(&packet, data, size, frames, i, &details[i]);
        struct span s = {view_first(view_from(file, (uint64_t)frames->offset[i]), frames->captured[i]), frames->length[i]};
        captured[i] = (uint32_t)s.bytes.size;
        if (reasons[i]) continue;
        size_t start = (size_t)(s.bytes.at - data);
        struct page page = {.s = &a->s, .in = data, .out = out, .mode = a->mode, .blank = blank[i], .tallies = a->tallies, .drawer_packets = a->packets, .drawer_bytes = a->bytes,
                            .cut = start + s.bytes.size};
        if (!walk_frame(&page, frames->link_type[i], s)) {
            reasons[i] = NOT_FOLLOWED;
            memset(out + start, 0, s.bytes.size);
        }
        if (a->mode == CUT) captured[i] = (uint32_t)(page.cut - start);
    }
    return !a->s.failed;
}

/* What stands for each of so many identifiers of one kind and size, one after the other. */
EXPORT bool wirespeak_stand_ins(struct anonymiser *a, int32_t kind, const uint8_t *originals, size_t size, int64_t count, uint8_t *out) {
    for (int64_t i = 0; i < count; i++) stand_in(&a->s, (enum identifier)kind, originals + (size_t)i * size, size, out + (size_t)i * size);
    return !a->s.failed;
}

/* Counts so far: identifiers replaced by enum tally, then packets and bytes of payload by drawer. */
EXPORT void wirespeak_anonymise_counts(const struct anonymiser *a, uint64_t out[TALLIES + 2 * DRAWERS]) {
    memcpy(out, a->tallies, sizeof a->tallies);
    memcpy(out + TALLIES, a->packets, sizeof a->packets);
    memcpy(out + TALLIES + DRAWERS, a->bytes, sizeof a->bytes);
}
