/* SHA-1 and SHA-256 (FIPS 180-4), for names that other tools give too. */
#include "native.h"

enum { BLOCK = SHA1_BLOCK };

static uint32_t rotate_right(uint32_t word, int by) { return word >> by | word << (32 - by); }

static void put_words(const uint32_t *words, size_t size, uint8_t *digest) {
    for (size_t i = 0; i < size; i++) digest[i] = (uint8_t)(words[i / 4] >> (24 - 8 * (i % 4)));
}

typedef uint32_t lanes __attribute__((vector_size(4 * SHA1_LANES))); /* the same word of each message */

static lanes rotate_lanes(lanes words, int by) { return words << by | words >> (32 - by); }

void sha1(uint8_t blocks[SHA1_LANES][SHA1_BLOCK], const size_t sizes[SHA1_LANES], uint8_t digests[SHA1_LANES][SHA1_SIZE]) {
    static const uint32_t start[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    static const uint32_t constants[4] = {0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6};
    lanes w[80], h[5], zero = {0};
    for (size_t lane = 0; lane < SHA1_LANES; lane++) {
        uint8_t *block = blocks[lane];
        block[sizes[lane]] = 0x80;
        block[BLOCK - 2] = (uint8_t)(sizes[lane] * 8 >> 8);
        block[BLOCK - 1] = (uint8_t)(sizes[lane] * 8);
        for (size_t i = 0; i < 16; i++) w[i][lane] = read32((struct view){block, BLOCK}, i * 4);
    }
    for (size_t i = 16; i < 80; i++) w[i] = rotate_lanes(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (size_t i = 0; i < 5; i++) h[i] = zero + start[i];
    lanes a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (size_t i = 0; i < 80; i++) {
        lanes f = i < 20 ? (b & c) | (~b & d) : i < 40 || i >= 60 ? b ^ c ^ d : (b & c) | (b & d) | (c & d);
        lanes next = rotate_lanes(a, 5) + f + e + constants[i / 20] + w[i];
        e = d, d = c, c = rotate_lanes(b, 30), b = a, a = next;
    }
    const lanes sums[5] = {h[0] + a, h[1] + b, h[2] + c, h[3] + d, h[4] + e};
    for (size_t lane = 0; lane < SHA1_LANES; lane++) {
        uint32_t words[5];
        for (size_t i = 0; i < 5; i++) words[i] = sums[i][lane];
        put_words(words, SHA1_SIZE, digests[lane]);
    }
}

static const uint32_t ROUNDS[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static void add_block(struct sha256 *sha) {
    uint32_t w[64], h[8];
    memcpy(h, sha->state, sizeof h);
    for (size_t i = 0; i < 16; i++) w[i] = read32((struct view){sha->block, BLOCK}, i * 4);
    for (size_t i = 16; i < 64; i++) {
        uint32_t low = rotate_right(w[i - 15], 7) ^ rotate_right(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t high = rotate_right(w[i - 2], 17) ^ rotate_right(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + low + w[i - 7] + high;
    }
    for (size_t i = 0; i < 64; i++) {
        uint32_t high = rotate_right(h[4], 6) ^ rotate_right(h[4], 11) ^ rotate_right(h[4], 25);
        uint32_t low = rotate_right(h[0], 2) ^ rotate_right(h[0], 13) ^ rotate_right(h[0], 22);
        uint32_t chosen = (h[4] & h[5]) ^ (~h[4] & h[6]), most = (h[0] & h[1]) ^ (h[0] & h[2]) ^ (h[1] & h[2]);
        uint32_t first = h[7] + high + chosen + ROUNDS[i] + w[i];
        memmove(h + 1, h, 7 * sizeof *h);
        h[4] += first;
        h[0] = first + low + most;
    }
    for (size_t i = 0; i < 8; i++) sha->state[i] += h[i];
}

void sha256_start(struct sha256 *sha) {
    *sha = (struct sha256){
        .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19},
    };
}

void sha256_add(struct sha256 *sha, const void *bytes, size_t size) {
    for (const uint8_t *at = bytes; size--; at++) {
        sha->block[sha->size++ % BLOCK] = *at;
        if (sha->size % BLOCK == 0) add_block(sha);
    }
}

void sha256_end(struct sha256 *sha, uint8_t digest[SHA256_SIZE]) {
    uint64_t bits = __builtin_bswap64(sha->size * 8);
    sha256_add(sha, "\x80", 1);
    while (sha->size % BLOCK != BLOCK - sizeof bits) sha256_add(sha, "", 1);
    sha256_add(sha, &bits, sizeof bits);
    put_words(sha->state, SHA256_SIZE, digest);
}
