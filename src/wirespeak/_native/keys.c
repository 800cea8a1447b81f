/* Which flow a packet belongs to. Source for ICMP: the Community ID specification, version 1. */
#include "native.h"

/* Types that answer each other share a key (as in Community ID): the request's. */
static uint8_t icmp_request_type(uint16_t protocol, uint8_t type) {
    static const uint8_t pairs[][2] = {{0, 8}, {9, 10}, {14, 13}, {16, 15}, {18, 17}};
    static const uint8_t pairs6[][2] = {{129, 128}, {131, 130}, {132, 130}, {134, 133}, {136, 135}, {140, 139}, {145, 144}};
    for (size_t i = 0; protocol == ICMP && i < ARRAY_LENGTH(pairs); i++) {
        if (pairs[i][0] == type) return pairs[i][1];
    }
    for (size_t i = 0; protocol == ICMP6 && i < ARRAY_LENGTH(pairs6); i++) {
        if (pairs6[i][0] == type) return pairs6[i][1];
    }
    return type;
}

struct ends {
    const uint8_t *src, *dst;
    uint16_t src_port, dst_port; /* of what has them; for ICMP identifier and type */
    uint16_t protocol, vlan;
    uint8_t family, tunnel;
    uint32_t tunnel_id;
};

/* The key of a conversation, the same whoever speaks; tells whether `src` is its low end. */
static bool make_key(struct flow_key *key, const struct ends *ends) {
    memset(key, 0, sizeof *key);
    bool icmp = ends->protocol == ICMP || ends->protocol == ICMP6;
    uint16_t src_port = ends->src_port, dst_port = icmp ? icmp_request_type(ends->protocol, (uint8_t)ends->dst_port) : ends->dst_port;
    int order = address_order(ends->src, ends->dst);
    bool src_is_low = order ? order < 0 : icmp || src_port <= dst_port;
    memcpy(key->low, src_is_low ? ends->src : ends->dst, 16);
    memcpy(key->high, src_is_low ? ends->dst : ends->src, 16);
    key->low_port = src_is_low || icmp ? src_port : dst_port;
    key->high_port = src_is_low || icmp ? dst_port : src_port;
    key->vlan = ends->vlan;
    key->protocol = ends->protocol;
    key->family = ends->family;
    key->tunnel = ends->tunnel;
    key->tunnel_id = ends->tunnel_id;
    return src_is_low;
}

static void make_arp_key(struct flow_key *key, const uint8_t *sender, const uint8_t *target, const uint8_t *mac,
                         const struct packet *p) {
    memset(key, 0, sizeof *key);
    memcpy(key->low, sender, 16);
    memcpy(key->high, target, 16);
    memcpy(key->mac, mac, 6);
    key->vlan = p->vlan;
    key->tunnel = p->tunnel;
    key->tunnel_id = p->tunnel_id;
    key->protocol = ARP;
    key->family = 4;
}

bool key_of_packet(struct flow_key *key, const struct packet *p) {
    if (p->protocol == ARP) {
        make_arp_key(key, p->src, p->dst, p->arp_sender_mac, p);
        return true;
    }
    bool icmp = p->protocol == ICMP || p->protocol == ICMP6;
    struct ends ends = {p->src, p->dst, icmp ? p->icmp_id : p->src_port, icmp ? p->icmp_type : p->dst_port,
                        p->protocol, p->vlan, p->family, p->tunnel, p->tunnel_id};
    return make_key(key, &ends);
}

void key_of_quoted(struct flow_key *key, const struct packet *p) {
    struct ends ends = {p->quoted_src, p->quoted_dst, p->quoted_src_port, p->quoted_dst_port, p->quoted_protocol, p->vlan, p->family,
                        p->tunnel, p->tunnel_id};
    make_key(key, &ends);
}

void key_of_answered(struct flow_key *key, const struct packet *p) {
    make_arp_key(key, p->dst, p->src, p->arp_target_mac, p);
}
