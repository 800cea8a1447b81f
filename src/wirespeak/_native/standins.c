/* What stands for an address, a MAC or a word: keyed, so the same in every file with the same key, and remembered, so that what
 * was replaced can be looked for afterwards.
 *
 * Sources: Xu, Fan, Ammar and Moon, "Prefix-Preserving IP Address Anonymization" (ICNP 2002), which Crypto-PAn implements;
 * RFC 6890 (special addresses), 4291 and 7042 (multicast), 6052 (NAT64), 3056 (6to4).
 */
#include "anonymise.h"

#include <stdlib.h>

/* ---- addresses ------------------------------------------------------------------------------------------ */

static bool bit_of(const uint8_t *bytes, int at) { return bytes[at / 8] >> (7 - at % 8) & 1; }

/* Whether each of the bits from `from` to before `to` flips: as those before it say, under the key. */
static void flips_of(const struct prefix_map *map, const uint8_t *address, int from, int to, uint8_t *flips) {
    uint8_t block[16], coded[16];
    memcpy(block, map->pad, 16);
    memcpy(block, address, (size_t)(from / 8));
    for (int i = from - from % 8; i < to; i++) {
        uint8_t mask = (uint8_t)(0x80 >> i % 8), before = (uint8_t)~(0xFF >> i % 8);
        block[i / 8] = (uint8_t)((address[i / 8] & before) | (map->pad[i / 8] & ~before));
        if (i >= from) {
            aes_block(&map->aes, block, coded);
            if (coded[0] & 0x80) flips[i / 8] |= mask;
        }
        if (i % 8 == 7) block[i / 8] = address[i / 8];
    }
}

/* A range that stays what it is: its first bits stay; of a `whole` one all. */
struct range {
    uint8_t prefix[16];
    uint8_t bits;
    bool whole;
};

static const struct range ranges4[] = {
    {{0}, 8, false},            {{0, 0, 0, 0}, 32, true},      {{10}, 8, false},           {{100, 64}, 10, false},
    {{127}, 8, true},           {{169, 254}, 16, false},       {{172, 16}, 12, false},     {{192, 168}, 16, false},
    {{224}, 4, false},          {{224, 0, 0}, 24, true},       {{224, 0, 1}, 24, true},    {{239, 255, 255, 250}, 32, true},
    {{240}, 4, false},          {{255, 255, 255, 255}, 32, true},
};
static const struct range ranges6[] = {
    {{0}, 127, true},                                          /* :: and ::1 */
    {{[10] = 0xFF, 0xFF}, 96, false},                          /* IPv4 in IPv6 */
    {{0, 0x64, 0xFF, 0x9B}, 96, false},                        /* NAT64 */
    {{0x20, 0x02}, 16, false},                                 /* 6to4 */
    {{0xFE, 0x80}, 64, false},
    {{0xFC}, 7, false},
    {{0xFF}, 8, false},                                        /* groups: see below */
};

/* How many leading bits do not change, so that special ranges map to themselves and all else outside of them. A bit before
 * which an address agrees with such a range is left alone; so the map stays one to one and prefix-preserving everywhere. */
static int kept_bits(const uint8_t *address, int size, const struct range *ranges, size_t count) {
    int most = 0;
    for (size_t i = 0; i < count; i++) {
        int common = 0;
        while (common < ranges[i].bits && bit_of(address, common) == bit_of(ranges[i].prefix, common)) common++;
        int kept = common < ranges[i].bits ? common + 1 : ranges[i].whole ? size : common;
        if (kept > most) most = kept;
    }
    return most;
}

static void turn(uint8_t *out, const uint8_t *address, const uint8_t *flips, int size, int kept) {
    for (int i = 0; i < size / 8; i++) {
        uint8_t mask = i < kept / 8 ? 0 : i == kept / 8 ? (uint8_t)(0xFF >> kept % 8) : 0xFF;
        out[i] = address[i] ^ (flips[i] & mask);
    }
}

static void map_ipv4(struct standins *s, const uint8_t address[4], uint8_t out[4]) {
    int kept = s->plain ? 0 : kept_bits(address, 32, ranges4, ARRAY_LENGTH(ranges4));
    uint8_t flips[4] = {0};
    uint32_t *top = &s->tops[(uint32_t)address[0] << 8 | address[1]];
    if (!*top) {
        flips_of(&s->four, address, 0, 16, flips);
        *top = 0x10000u | (uint32_t)flips[0] << 8 | flips[1];
    }
    flips[0] = (uint8_t)(*top >> 8);
    flips[1] = (uint8_t)*top;
    flips_of(&s->four, address, 16, 32, flips);
    turn(out, address, flips, 32, kept);
}

/* Well-known groups are no hosts; a solicited node's ends in 24 bits of its address (RFC 4291). */
static int kept_bits6(const uint8_t a[16]) {
    if (a[0] != 0xFF) return kept_bits(a, 128, ranges6, ARRAY_LENGTH(ranges6));
    if (a[1] & 0xF0) return 16;
    const struct range groups[] = {
        {{a[0], a[1]}, 96, true},
        {{a[0], a[1], [11] = 1, 0xFF}, 104, false},
    };
    return kept_bits(a, 128, groups, ARRAY_LENGTH(groups));
}

static void map_ipv6(struct standins *s, const uint8_t address[16], uint8_t out[16]) {
    static const uint8_t mapped[12] = {[10] = 0xFF, 0xFF}, nat64[12] = {0, 0x64, 0xFF, 0x9B};
    if (!s->plain && (memcmp(address, mapped, 12) == 0 || memcmp(address, nat64, 12) == 0)) {
        memcpy(out, address, 12);
        stand_in(s, ID_IPV4, address + 12, 4, out + 12);
        return;
    }
    int kept = s->plain ? 0 : kept_bits6(address);
    uint8_t flips[16] = {0};
    if (!s->six_known || memcmp(s->six_seen, address, 8) != 0) {
        flips_of(&s->six, address, 0, 64, flips);
        memcpy(s->six_flips, flips, 8);
        memcpy(s->six_seen, address, 8);
        s->six_known = true;
    }
    memcpy(flips, s->six_flips, 8);
    if (kept < 128) flips_of(&s->six, address, 64, 128, flips);
    turn(out, address, flips, 128, kept);
    if (!s->plain && address[0] == 0x20 && address[1] == 0x02) stand_in(s, ID_IPV4, address + 2, 4, out + 2);
}

/* ---- link addresses -------------------------------------------------------------------------------------- */

/* A keyed permutation of numbers of so many bits, an even number: a Feistel network of eight rounds, a family of them by `tweak`. */
static uint64_t permuted(const struct aes *aes, int bits, uint64_t tweak, uint64_t value) {
    uint64_t mask = (UINT64_C(1) << bits / 2) - 1, left = value >> bits / 2 & mask, right = value & mask;
    for (uint8_t round = 0; round < 8; round++) {
        uint8_t block[16] = {round, (uint8_t)bits}, coded[16];
        memcpy(block + 2, &tweak, 6);
        memcpy(block + 8, &right, 8);
        aes_block(aes, block, coded);
        uint64_t turned;
        memcpy(&turned, coded, 8);
        uint64_t next = left ^ (turned & mask);
        left = right;
        right = next;
    }
    return left << bits / 2 | right;
}

static uint64_t number_of(const uint8_t *bytes, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) value = value << 8 | bytes[i];
    return value;
}

static void put_number(uint8_t *out, size_t size, uint64_t value) {
    for (size_t i = size; i--; value >>= 8) out[i] = (uint8_t)value;
}

/* Groups that a standard names, which are nobody's: bridges, LLDP, Cisco's, PTP, GOOSE, well-known groups of IP. */
static bool is_known_group(const uint8_t mac[6]) {
    static const uint8_t known[][4] = {{3, 0x01, 0x80, 0xC2}, {3, 0x01, 0x00, 0x0C}, {3, 0x01, 0x1B, 0x19}, {3, 0x01, 0x0C, 0xCD}};
    static const uint8_t ssdp[] = {0x01, 0x00, 0x5E, 0x7F, 0xFF, 0xFA};
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        if (memcmp(mac, known[i] + 1, known[i][0]) == 0) return true;
    }
    bool four = mac[0] == 1 && mac[1] == 0 && mac[2] == 0x5E, six = mac[0] == 0x33 && mac[1] == 0x33;
    return (four && mac[3] == 0 && mac[4] <= 1) || memcmp(mac, ssdp, 6) == 0 || (six && mac[2] == 0 && mac[3] == 0);
}

static void map_mac(struct standins *s, const uint8_t mac[6], uint8_t out[6]) {
    memcpy(out, mac, 6);
    uint64_t value = number_of(mac, 6);
    bool group = mac[0] & 1, local = mac[0] & 2;
    if (value == 0 || value == 0xFFFFFFFFFFFF || (group && is_known_group(mac))) return;
    if (mac[0] == 0x33 && mac[1] == 0x33 && mac[2] == 0xFF) { /* a solicited node's group: as the address that it repeats */
        uint8_t address[16] = {0xFF, 0x02, [11] = 1, 0xFF, mac[3], mac[4], mac[5]}, mapped[16];
        stand_in(s, ID_IPV6, address, 16, mapped);
        memcpy(out + 3, mapped + 13, 3);
    } else if (mac[0] == 0x33 && mac[1] == 0x33) {
        put_number(out + 2, 4, permuted(&s->links, 32, 0x3333, value & UINT32_MAX));
    } else if (mac[0] == 1 && mac[1] == 0 && mac[2] == 0x5E) {
        put_number(out + 3, 3, (value & 0xC00000) | permuted(&s->links, 22, 0x5E, value & 0x3FFFFF));
    } else if (s->keep_vendor && !local && !group) {
        put_number(out + 3, 3, permuted(&s->links, 24, value >> 24, value & 0xFFFFFF));
    } else {
        uint64_t flat = (uint64_t)(mac[0] >> 2) << 40 | (value & 0xFFFFFFFFFF);
        flat = permuted(&s->links, 46, mac[0] & 3u, flat);
        put_number(out, 6, (flat >> 40) << 42 | UINT64_C(0x020000000000) | (uint64_t)group << 40 | (flat & 0xFFFFFFFFFF));
    }
}

/* Of 802.15.4: broadcast and unassigned short addresses and networks stay. */
static void map_short(struct standins *s, const uint8_t *in, uint8_t *out) {
    uint64_t value = number_of(in, 2);
    if (value >= 0xFFFC || value == 0) memcpy(out, in, 2);
    else {
        uint64_t next = value; /* walk until it lands among ordinary ones */
        do next = permuted(&s->links, 16, 0, next);
        while (next >= 0xFFFC || next == 0);
        put_number(out, 2, next);
    }
}

/* ---- words ------------------------------------------------------------------------------------------------ */

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static bool is_letter(uint8_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80 || c < 0x20 || c == 0x7F; }

/* Letters for letters, digits for digits, never the word itself: a CBC-MAC of its length and text, stretched. */
static void map_word(struct standins *s, const uint8_t *word, size_t size, uint8_t *out) {
    uint8_t code[16] = {(uint8_t)size}, stream[16] = {0};
    aes_block(&s->texts, code, code);
    for (size_t i = 0; i < size; i += 16) {
        for (size_t k = 0; k < 16 && i + k < size; k++) code[k] ^= word[i + k];
        aes_block(&s->texts, code, code);
    }
    bool same = true;
    for (size_t i = 0; i < size; i++) {
        if (i % 16 == 0) {
            aes_block(&s->streams, code, stream);
            code[0]++;
        }
        uint8_t c = word[i];
        out[i] = is_digit(c) ? (uint8_t)('0' + stream[i % 16] % 10) : is_letter(c) ? (uint8_t)('a' + stream[i % 16] % 26) : c;
        same &= out[i] == c;
    }
    for (size_t i = 0; same && i < size; i++) {
        if (!is_digit(word[i]) && !is_letter(word[i])) continue;
        out[i] = is_digit(word[i]) ? (uint8_t)('0' + (word[i] - '0' + 1) % 10) : (uint8_t)('a' + (word[i] - 'a' + 1) % 26);
        same = false;
    }
}

static const char *const public_words[] = {
    "_dns-sd", "_http", "_services", "_sub", "_tcp", "_udp", "alive", "all", "arpa", "basic", "bearer", "br", "byebye", "bytes", "chunked",
    "close", "created", "deflate", "device", "digest", "discover", "forbidden", "found", "gzip", "http", "identity", "in-addr", "ip6", "keep-alive", "local",
    "max-age", "mqtt", "no-cache", "no-store", "not", "ok", "org", "request", "rootdevice", "schemas-upnp-org", "service", "ssdp", "timeout",
    "trailers", "unauthorized", "upgrade", "upnp", "urn", "websocket",
};

EXPORT bool wirespeak_is_public(const uint8_t *word, size_t size) { return is_public(word, size); }

bool is_public(const uint8_t *word, size_t size) {
    for (size_t i = 0; i < ARRAY_LENGTH(public_words); i++) {
        const char *known = public_words[i];
        if (strlen(known) != size) continue;
        size_t k = 0;
        while (k < size && (word[k] >= 'A' && word[k] <= 'Z' ? word[k] | 0x20 : word[k]) == (uint8_t)known[k]) k++;
        if (k == size) return true;
    }
    return false;
}

/* ---- memory ------------------------------------------------------------------------------------------------ */

struct wanted {
    enum identifier kind;
    const uint8_t *bytes;
    size_t size;
};

static bool same_identifier(const void *owner, uint32_t index, const void *key) {
    const struct standins *s = owner;
    const struct wanted *wanted = key;
    const struct entry *entry = pool_at(&s->entries, index);
    return entry->kind == wanted->kind && entry->size == wanted->size && memcmp(s->arena + entry->at, wanted->bytes, wanted->size) == 0;
}

static void map(struct standins *s, enum identifier kind, const uint8_t *in, size_t size, uint8_t *out) {
    switch (kind) {
        case ID_IPV4: map_ipv4(s, in, out); break;
        case ID_IPV6: map_ipv6(s, in, out); break;
        case ID_MAC: map_mac(s, in, out); break;
        case ID_EUI64: {
            uint64_t value = number_of(in, 8);
            put_number(out, 8, value + 1 > 1 ? permuted(&s->links, 64, 0, value) : value);
            break;
        }
        case ID_SHORT: map_short(s, in, out); break;
        case ID_TUNNEL: put_number(out, 4, permuted(&s->links, 32, 0x4754, number_of(in, 4))); break;
        default: map_word(s, in, size, out);
    }
}

void stand_in(struct standins *s, enum identifier kind, const uint8_t *original, size_t size, uint8_t *out) {
    uint8_t in[WORD], mapped[WORD];
    memcpy(in, original, size); /* `out` may be where the original is */
    struct wanted wanted = {kind, in, size};
    uint32_t hash = (uint32_t)hash_bytes(in, size, s->seed + (uint64_t)kind);
    uint32_t found = table_find(&s->table, hash, same_identifier, s, &wanted);
    if (found != NONE) {
        memcpy(out, s->arena + ((struct entry *)pool_at(&s->entries, found))->at + size, size);
        return;
    }
    map(s, kind, in, size, mapped);
    memcpy(out, mapped, size);
    if (s->used + 2 * size > s->room) {
        size_t room = s->room ? s->room * 2 : 1 << 16;
        uint8_t *grown = room <= NONE ? realloc(s->arena, room) : NULL;
        if (!grown) {
            s->failed = true;
            return;
        }
        s->arena = grown;
        s->room = room;
    }
    uint32_t index = pool_take(&s->entries);
    if (index == NONE || !table_insert(&s->table, hash, index)) {
        s->failed = true;
        return;
    }
    struct entry *entry = pool_at(&s->entries, index);
    *entry = (struct entry){.at = (uint32_t)s->used, .kind = (uint8_t)kind, .size = (uint8_t)size, .stays = memcmp(in, mapped, size) == 0,
                            .public = kind == ID_NAME && is_kept_word(in, size)};
    memcpy(s->arena + s->used, in, size);
    memcpy(s->arena + s->used + size, mapped, size);
    s->used += 2 * size;
}

const struct entry *known_as(const struct standins *s, enum identifier kind, const uint8_t *bytes, size_t size) {
    struct wanted wanted = {kind, bytes, size};
    uint32_t found = table_find(&s->table, (uint32_t)hash_bytes(bytes, size, s->seed + (uint64_t)kind), same_identifier, s, &wanted);
    return found == NONE ? NULL : pool_at(&s->entries, found);
}

bool standins_start(struct standins *s, const struct keys *keys, bool plain, bool keep_vendor, uint64_t seed) {
    *s = (struct standins){.plain = plain, .keep_vendor = keep_vendor, .seed = seed};
    aes_start(&s->four.aes, keys->four);
    aes_block(&s->four.aes, keys->four + 16, s->four.pad);
    aes_start(&s->six.aes, keys->six);
    aes_block(&s->six.aes, keys->six + 16, s->six.pad);
    aes_start(&s->links, keys->links);
    aes_start(&s->texts, keys->texts);
    aes_start(&s->streams, keys->streams);
    pool_start(&s->entries, sizeof(struct entry));
    s->tops = calloc(1 << 16, sizeof *s->tops);
    return table_start(&s->table) && s->tops;
}

void standins_end(struct standins *s) {
    pool_end(&s->entries);
    table_end(&s->table);
    free(s->arena);
    free(s->tops);
}
