/* AES with keys of 128 bits, one block at a time. Source: FIPS 197.
 *
 * Tables are derived once; timing tells nothing to anybody, since whoever runs this holds the key.
 */
#include "anonymise.h"

static uint8_t boxes[256];
static uint32_t columns[4][256];
static bool ready;

static uint8_t doubled(uint8_t x) { return (uint8_t)(x << 1 ^ (x >> 7) * 0x1B); }
static uint32_t rotated(uint32_t word, int by) { return by ? word >> by | word << (32 - by) : word; }

/* The substitution by powers of the generator 3 and its inverse, then the affine map; concurrent callers write the same. */
static void derive(void) {
    uint8_t p = 1, q = 1;
    do {
        p = p ^ doubled(p);
        q ^= (uint8_t)(q << 1), q ^= (uint8_t)(q << 2), q ^= (uint8_t)(q << 4);
        if (q & 0x80) q ^= 0x09;
        uint8_t x = q;
        for (int i = 1; i < 5; i++) x ^= (uint8_t)(q << i | q >> (8 - i));
        boxes[p] = x ^ 0x63;
    } while (p != 1);
    boxes[0] = 0x63;
    for (int i = 0; i < 256; i++) {
        uint8_t s = boxes[i], two = doubled(s);
        uint32_t column = (uint32_t)two << 24 | (uint32_t)s << 16 | (uint32_t)s << 8 | (uint8_t)(two ^ s);
        for (int r = 0; r < 4; r++) columns[r][i] = rotated(column, 8 * r);
    }
    ready = true;
}

static uint32_t substituted(uint32_t word) {
    return (uint32_t)boxes[word >> 24] << 24 | (uint32_t)boxes[word >> 16 & 255] << 16 | (uint32_t)boxes[word >> 8 & 255] << 8 | boxes[word & 255];
}

void aes_start(struct aes *aes, const uint8_t key[16]) {
    if (!ready) derive();
    uint8_t constant = 1;
    for (size_t i = 0; i < 4; i++) aes->rounds[i] = read32((struct view){key, 16}, 4 * i);
    for (size_t i = 4; i < ARRAY_LENGTH(aes->rounds); i++) {
        uint32_t word = aes->rounds[i - 1];
        if (i % 4 == 0) {
            word = substituted(rotated(word, 24)) ^ (uint32_t)constant << 24;
            constant = doubled(constant);
        }
        aes->rounds[i] = aes->rounds[i - 4] ^ word;
    }
}

void aes_block(const struct aes *aes, const uint8_t in[16], uint8_t out[16]) {
    const uint32_t *round = aes->rounds;
    uint32_t a[4], b[4];
    for (size_t i = 0; i < 4; i++) a[i] = read32((struct view){in, 16}, 4 * i) ^ round[i];
    for (int n = 1; n < 10; n++) {
        round += 4;
        for (size_t i = 0; i < 4; i++) {
            b[i] = columns[0][a[i] >> 24] ^ columns[1][a[(i + 1) & 3] >> 16 & 255] ^ columns[2][a[(i + 2) & 3] >> 8 & 255] ^ columns[3][a[(i + 3) & 3] & 255] ^ round[i];
        }
        memcpy(a, b, sizeof a);
    }
    round += 4;
    for (size_t i = 0; i < 4; i++) {
        uint32_t word = (uint32_t)boxes[a[i] >> 24] << 24 | (uint32_t)boxes[a[(i + 1) & 3] >> 16 & 255] << 16 | (uint32_t)boxes[a[(i + 2) & 3] >> 8 & 255] << 8 | boxes[a[(i + 3) & 3] & 255];
        word = __builtin_bswap32(word ^ round[i]);
        memcpy(out + 4 * i, &word, 4);
    }
}

/* Blocks of 16 bytes under one key: for tests against the published vectors. */
EXPORT void wirespeak_aes(const uint8_t key[16], const uint8_t *blocks, size_t count, uint8_t *out) {
    struct aes aes;
    aes_start(&aes, key);
    for (size_t i = 0; i < count; i++) aes_block(&aes, blocks + 16 * i, out + 16 * i);
}
