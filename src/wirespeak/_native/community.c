/* Community ID, version 1, with seed 0: a name for a flow that other tools give it too.
 *
 * Sources: github.com/corelight/community-id-spec; SHA-1 (RFC 3174), base64 (RFC 4648).
 */
#include "native.h"

enum { BLOCK = 64, DIGEST = 20 };

static uint32_t rotate(uint32_t word, int by) { return word << by | word >> (32 - by); }

/* SHA-1 of a message that fits in one block: at most 55 bytes. */
static void sha1(const uint8_t *message, size_t size, uint8_t digest[DIGEST]) {
    uint8_t block[BLOCK] = {0};
    memcpy(block, message, size);
    block[size] = 0x80;
    block[BLOCK - 2] = (uint8_t)(size * 8 >> 8);
    block[BLOCK - 1] = (uint8_t)(size * 8);
    uint32_t w[80], h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    for (size_t i = 0; i < 16; i++) w[i] = read32((struct view){block, BLOCK}, i * 4);
    for (size_t i = 16; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (size_t i = 0; i < 80; i++) {
        uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 || i >= 60 ? b ^ c ^ d : (b & c) | (b & d) | (c & d);
        uint32_t k = i < 20 ? 0x5A827999 : i < 40 ? 0x6ED9EBA1 : i < 60 ? 0x8F1BBCDC : 0xCA62C1D6;
        uint32_t next = rotate(a, 5) + f + e + k + w[i];
        e = d, d = c, c = rotate(b, 30), b = a, a = next;
    }
    const uint32_t sums[5] = {h[0] + a, h[1] + b, h[2] + c, h[3] + d, h[4] + e};
    for (size_t i = 0; i < DIGEST; i++) digest[i] = (uint8_t)(sums[i / 4] >> (24 - 8 * (i % 4)));
}

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
