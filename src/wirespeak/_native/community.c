/* Community ID, version 1, with seed 0: a name for a flow that other tools give it too.
 *
 * Sources: github.com/corelight/community-id-spec; base64 (RFC 4648).
 */
#include "texts.h"

enum { NAME = 30 }; /* characters */

static void base64(const uint8_t digest[SHA1_SIZE], char out[28]) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < SHA1_SIZE; i += 3) {
        struct view rest = {digest + i, SHA1_SIZE - i};
        uint32_t three = read32(rest, 0) >> 8;
        for (size_t k = 0; k < 4; k++) *out++ = i * 8 + k * 6 < SHA1_SIZE * 8 ? letters[three >> (18 - 6 * k) & 63] : '=';
    }
}

/* What Community ID asks of a flow. */
struct named {
    const uint8_t *src, *dst;
    uint16_t src_port, dst_port, protocol;
    uint8_t family, icmp_type, icmp_code;
};

/* What stands for ports of an ICMP message, and whether it has a counterpart that answers it. */
static bool icmp_ports(const struct named *flow, uint16_t *src, uint16_t *dst) {
    static const uint8_t pairs[][2] = {{8, 0}, {13, 14}, {15, 16}, {10, 9}, {17, 18}};
    static const uint8_t pairs6[][2] = {{128, 129}, {133, 134}, {135, 136}, {130, 131}, {144, 145}, {139, 140}};
    const uint8_t (*known)[2] = flow->protocol == ICMP ? pairs : pairs6;
    size_t count = flow->protocol == ICMP ? ARRAY_LENGTH(pairs) : ARRAY_LENGTH(pairs6);
    *src = flow->icmp_type;
    *dst = flow->icmp_code;
    for (size_t i = 0; i < count; i++) {
        for (int way = 0; way < 2; way++) {
            if (known[i][way] != flow->icmp_type) continue;
            *dst = known[i][!way];
            return true;
        }
    }
    return false;
}

/* Writes what is hashed into a block of zeros; its size, 0 where the flow has no name. */
static size_t put_message(const struct named *flow, uint8_t message[SHA1_BLOCK]) {
    if (flow->family != 4 && flow->family != 6) return 0;
    if (flow->protocol > UINT8_MAX) return 0; /* ARP is no IP */
    size_t size = flow->family == 4 ? 4 : 16, from = 16 - size, at = 2; /* it begins with the seed */
    uint16_t src_port = flow->src_port, dst_port = flow->dst_port;
    bool icmp = flow->protocol == ICMP || flow->protocol == ICMP6;
    bool turns = !icmp || icmp_ports(flow, &src_port, &dst_port);
    int order = memcmp(flow->src + from, flow->dst + from, size);
    bool turned = turns && (order > 0 || (order == 0 && src_port > dst_port));
    memcpy(message + at, (turned ? flow->dst : flow->src) + from, size), at += size;
    memcpy(message + at, (turned ? flow->src : flow->dst) + from, size), at += size;
    message[at] = (uint8_t)flow->protocol, at += 2;
    if (icmp || has_ports(flow->protocol)) {
        uint16_t first = turned ? dst_port : src_port, second = turned ? src_port : dst_port;
        message[at++] = (uint8_t)(first >> 8), message[at++] = (uint8_t)first;
        message[at++] = (uint8_t)(second >> 8), message[at++] = (uint8_t)second;
    }
    return at;
}

/* The names of flows that are told in columns, null where a flow has none; false without memory. */
EXPORT bool wirespeak_community_ids(const uint8_t *src, const uint8_t *dst, const uint16_t *src_port, const uint16_t *dst_port,
                                    const uint16_t *protocol, const uint8_t *family, const uint8_t *icmp_type, const uint8_t *icmp_code,
                                    int64_t count, struct ArrowSchema *schema, struct ArrowArray *array) {
    struct texts texts;
    if (!texts_start(&texts, count, (size_t)count * NAME)) return false;
    for (int64_t from = 0; from < count; from += SHA1_LANES) {
        uint8_t blocks[SHA1_LANES][SHA1_BLOCK] = {0}, digests[SHA1_LANES][SHA1_SIZE];
        size_t sizes[SHA1_LANES] = {0}, here = count - from < SHA1_LANES ? (size_t)(count - from) : SHA1_LANES;
        for (size_t k = 0; k < here; k++) {
            size_t i = (size_t)from + k;
            struct named flow = {src + 16 * i, dst + 16 * i, src_port[i], dst_port[i], protocol[i], family[i], icmp_type[i], icmp_code[i]};
            sizes[k] = put_message(&flow, blocks[k]);
        }
        sha1(blocks, sizes, digests);
        for (size_t k = 0; k < here; k++) {
            if (!sizes[k]) {
                texts_none(&texts);
                continue;
            }
            memcpy(texts_next(&texts), "1:", 2);
            base64(digests[k], texts_next(&texts) + 2);
            texts_wrote(&texts, NAME);
        }
    }
    texts_give(&texts, schema, array);
    return true;
}
