/* Community ID, version 1, with seed 0: a name for a flow that other tools give it too.
 *
 * Sources: github.com/corelight/community-id-spec; base64 (RFC 4648).
 */
#include "native.h"

enum { BLOCK = 64, DIGEST = SHA1_SIZE };

static void base64(const uint8_t digest[DIGEST], char out[28]) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < DIGEST; i += 3) {
        struct view rest = {digest + i, DIGEST - i};
        uint32_t three = read32(rest, 0) >> 8;
        for (size_t k = 0; k < 4; k++) *out++ = i * 8 + k * 6 < DIGEST * 8 ? letters[three >> (18 - 6 * k) & 63] : '=';
    }
}

/* What stands for ports of an ICMP message, and whether it has a counterpart that answers it. */
static bool icmp_ports(const struct flow_row *row, uint16_t *src, uint16_t *dst) {
    static const uint8_t pairs[][2] = {{8, 0}, {13, 14}, {15, 16}, {10, 9}, {17, 18}};
    static const uint8_t pairs6[][2] = {{128, 129}, {133, 134}, {135, 136}, {130, 131}, {144, 145}, {139, 140}};
    const uint8_t (*known)[2] = row->protocol == ICMP ? pairs : pairs6;
    size_t count = row->protocol == ICMP ? ARRAY_LENGTH(pairs) : ARRAY_LENGTH(pairs6);
    *src = row->icmp_type;
    *dst = row->icmp_code;
    for (size_t i = 0; i < count; i++) {
        for (int way = 0; way < 2; way++) {
            if (known[i][way] != row->icmp_type) continue;
            *dst = known[i][!way];
            return true;
        }
    }
    return false;
}

void community_id(struct flow_row *row) {
    if (row->family != 4 && row->family != 6) return;
    if (row->protocol > UINT8_MAX) return; /* ARP is no IP */
    size_t size = row->family == 4 ? 4 : 16, from = 16 - size, at = 2;
    uint16_t src_port = row->src_port, dst_port = row->dst_port;
    bool icmp = row->protocol == ICMP || row->protocol == ICMP6;
    bool turns = !icmp || icmp_ports(row, &src_port, &dst_port);
    bool has_ports = icmp || row->protocol == TCP || row->protocol == UDP;
    int order = memcmp(row->src + from, row->dst + from, size);
    bool turned = turns && (order > 0 || (order == 0 && src_port > dst_port));
    uint8_t message[BLOCK] = {0}; /* begins with the seed */
    memcpy(message + at, (turned ? row->dst : row->src) + from, size), at += size;
    memcpy(message + at, (turned ? row->src : row->dst) + from, size), at += size;
    message[at] = (uint8_t)row->protocol, at += 2;
    if (has_ports) {
        uint16_t first = turned ? dst_port : src_port, second = turned ? src_port : dst_port;
        message[at++] = (uint8_t)(first >> 8), message[at++] = (uint8_t)first;
        message[at++] = (uint8_t)(second >> 8), message[at++] = (uint8_t)second;
    }
    uint8_t digest[DIGEST];
    sha1(message, at, digest);
    memcpy(row->community_id, "1:", 2);
    base64(digest, row->community_id + 2);
}

/* Gives each row its name, from its addresses, ports and protocol. */
EXPORT void wirespeak_community_ids(struct flow_row *rows, int64_t count) {
    for (int64_t i = 0; i < count; i++) community_id(&rows[i]);
}
