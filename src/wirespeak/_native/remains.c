/* What remains of the identifiers of a capture in what was written instead of it: every frame beside the frame that it was.
 *
 * Nothing moves within a frame, so what was not replaced is where it was. Looked for are addresses and MACs where the decoder of
 * headers.c finds them, MACs, IPv6 and 802.15.4 addresses anywhere, and in payload the words that were replaced and the
 * addresses as text. Found are those that stand where they stood and do not stay by rule.
 */
#include "anonymise.h"

#include <arpa/inet.h>
#include <stdlib.h>

enum { SHORTEST = 4, HEADS = 1 << 16, ADDRESS_LETTERS = 45 };
enum remain { R_ADDRESSES, R_MACS, R_WORDS, REMAINS };

struct audit {
    struct standins *s;
    bool heads[HEADS]; /* whether a MAC or an IPv6 address begins with bytes of this hash */
};

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }
static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static bool is_hex(uint8_t c) { return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'f'); }
static bool goes_on(uint8_t c) { return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') || c == '-' || c == '_' || c >= 0x80; }

static uint32_t word_at(const uint8_t *at) {
    uint32_t word;
    memcpy(&word, at, 4);
    return word;
}

static uint32_t head_of(uint32_t word) { return word * 0x9E3779B1u >> 16; }

/* Bytes of which most are zero occur in many headers; they are looked for in their fields alone. */
static bool is_telling(const uint8_t *bytes, size_t size) {
    size_t zeros = 0;
    for (size_t i = 0; i < size; i++) zeros += bytes[i] == 0;
    return size - zeros >= 4;
}

/* Whether this was an identifier that something else stands for. */
static bool was_replaced(const struct audit *audit, enum identifier kind, const uint8_t *bytes, size_t size) {
    const struct entry *entry = known_as(audit->s, kind, bytes, size);
    return entry && !entry->stays && !entry->public;
}

/* Both frames, and where they say the same from a point on. */
struct beside {
    struct view was, is;
    size_t payload, end;
};

static bool same(const struct beside *both, size_t at, size_t size) {
    return size <= both->is.size - at && memcmp(both->was.at + at, both->is.at + at, size) == 0;
}

static void search_bytes(const struct audit *audit, const struct beside *both, size_t at, uint64_t *found) {
    const uint8_t *bytes = both->is.at + at;
    if (same(both, at, 6) && !(bytes[0] & 1) && is_telling(bytes, 6)) found[R_MACS] += was_replaced(audit, ID_MAC, bytes, 6);
    if (same(both, at, 16) && is_telling(bytes, 16)) found[R_ADDRESSES] += was_replaced(audit, ID_IPV6, bytes, 16);
}

/* An address or a MAC in letters, from the beginning of a run of them. */
static void search_address(const struct audit *audit, const struct beside *both, size_t at, uint64_t *found) {
    char text[ADDRESS_LETTERS + 1];
    uint8_t address[16], mac[6];
    size_t size = 0, dotted = 0, digits = 0;
    for (uint8_t c; at + size < both->end && size < ADDRESS_LETTERS && (is_hex(c = both->is.at[at + size]) || c == ':' || c == '.'); size++) text[size] = (char)c;
    while (dotted < size && (is_digit((uint8_t)text[dotted]) || text[dotted] == '.')) dotted++;
    while (dotted && text[dotted - 1] == '.') dotted--;
    text[size] = 0;
    if (size >= 17 && text[2] == ':' && text[14] == ':') {
        for (size_t i = 0; i < 17; i++) {
            if (i % 3 == 2) continue;
            uint8_t c = lower((uint8_t)text[i]), value = is_digit(c) ? c - '0' : c - 'a' + 10;
            if (is_hex(c)) digits++, mac[i / 3] = i % 3 ? (uint8_t)(mac[i / 3] | value) : (uint8_t)(value << 4);
        }
        if (digits == 12 && same(both, at, 17)) found[R_MACS] += was_replaced(audit, ID_MAC, mac, 6);
    }
    if (inet_pton(AF_INET6, text, address) == 1 && same(both, at, size)) found[R_ADDRESSES] += was_replaced(audit, ID_IPV6, address, 16);
    text[dotted] = 0;
    if (inet_pton(AF_INET, text, address) == 1 && same(both, at, dotted)) found[R_ADDRESSES] += was_replaced(audit, ID_IPV4, address, 4);
}

/* The word that begins here. Of numbers alone nothing is said: they count and measure everywhere. */
static void search_word(const struct audit *audit, const struct beside *both, size_t at, uint64_t *found) {
    uint8_t word[WORD];
    size_t size = 0;
    bool digits = true;
    for (; at + size < both->end && size < WORD && goes_on(both->is.at[at + size]); size++) {
        word[size] = lower(both->is.at[at + size]);
        digits &= is_digit(word[size]);
    }
    if (size >= SHORTEST && !digits && same(both, at, size)) found[R_WORDS] += was_replaced(audit, ID_NAME, word, size);
}

/* Looks at both frames where their bytes agree. */
static void search(const struct audit *audit, const struct beside *both, uint64_t *found) {
    for (size_t at = 0; at + SHORTEST <= both->is.size; at++) {
        uint32_t word = word_at(both->is.at + at);
        if (word == 0) {
            at += SHORTEST - 1;
            continue;
        }
        if (word != word_at(both->was.at + at)) continue;
        if (audit->heads[head_of(word)]) search_bytes(audit, both, at, found);
        if (at < both->payload || at >= both->end || !goes_on(both->is.at[at]) || (at > both->payload && goes_on(both->is.at[at - 1]))) continue;
        search_word(audit, both, at, found);
        if (is_hex(both->is.at[at])) search_address(audit, both, at, found);
    }
}

static bool remains_of(struct standins *s, enum identifier kind, const uint8_t *was, const uint8_t *is, size_t size) {
    uint8_t mapped[16];
    if (memcmp(was, is, size) != 0) return false;
    stand_in(s, kind, was, size, mapped);
    return memcmp(mapped, was, size) != 0;
}

static uint64_t address_remains(struct standins *s, uint8_t family, const uint8_t was[16], const uint8_t is[16]) {
    switch (family) {
        case 4: return remains_of(s, ID_IPV4, was + 12, is + 12, 4);
        case 6: return remains_of(s, ID_IPV6, was, is, 16);
        case 15: return was[5] == 8 ? remains_of(s, ID_EUI64, was + 8, is + 8, 8) : was[5] == 2 && remains_of(s, ID_SHORT, was + 14, is + 14, 2);
        default: return 0;
    }
}

static uint64_t mac_remains(struct standins *s, const uint8_t was[6], const uint8_t is[6]) {
    return was[0] & 1 ? 0 : remains_of(s, ID_MAC, was, is, 6);
}

static void compare(const struct audit *audit, const struct packet *was, const struct packet *is, uint64_t *found) {
    struct standins *s = audit->s;
    bool arp = was->protocol == ARP;
    found[R_ADDRESSES] += address_remains(s, was->family, was->src, is->src) + address_remains(s, was->family, was->dst, is->dst);
    if (was->quoted_protocol != NO_PROTOCOL) {
        found[R_ADDRESSES] += address_remains(s, was->family, was->quoted_src, is->quoted_src) + address_remains(s, was->family, was->quoted_dst, is->quoted_dst);
    }
    found[R_MACS] += (was->has_src_mac && mac_remains(s, was->src_mac, is->src_mac)) + (was->has_dst_mac && mac_remains(s, was->dst_mac, is->dst_mac));
    if (arp) found[R_MACS] += mac_remains(s, was->arp_sender_mac, is->arp_sender_mac) + mac_remains(s, was->arp_target_mac, is->arp_target_mac);
}

EXPORT void wirespeak_audit_end(struct audit *audit) { free(audit); }

/* A search for what was replaced; NULL without memory. `s` begins the anonymiser. */
EXPORT struct audit *wirespeak_audit_start(struct standins *s) {
    struct audit *audit = calloc(1, sizeof *audit);
    for (uint32_t i = 0; audit && i < s->entries.taken; i++) {
        const struct entry *entry = pool_at(&s->entries, i);
        if (entry->kind == ID_MAC || entry->kind == ID_IPV6) audit->heads[head_of(word_at(s->arena + entry->at))] = true;
    }
    if (audit) audit->s = s;
    return audit;
}

/* Adds to `found` what remains of each frame `was` in the frame `is` of the same row, and marks the rows where anything does.
 * False when the frames cannot be those. */
EXPORT bool wirespeak_audit_frames(const struct audit *audit, const uint8_t *was_data, size_t was_size, const struct frame_columns *was,
                                   const uint8_t *is_data, size_t is_size, const struct frame_columns *is, uint64_t found[REMAINS], bool *rows) {
    for (int64_t i = 0; i < was->count; i++) {
        struct packet before, after;
        uint16_t unused;
        struct view a = view_first(view_from((struct view){was_data, was_size}, (uint64_t)was->offset[i]), was->captured[i]);
        struct view b = view_first(view_from((struct view){is_data, is_size}, (uint64_t)is->offset[i]), is->captured[i]);
        if (was->length[i] != is->length[i] || b.size > a.size) return false;
        bool read = decode_packet(&before, was_data, was_size, was, i, &unused) == 0;
        bool both = read && decode_packet(&after, is_data, is_size, is, i, &unused) == 0;
        uint64_t so_far = found[R_ADDRESSES] + found[R_MACS] + found[R_WORDS];
        if (both) compare(audit, &before, &after, found);
        size_t payload = before.payload_captured ? (size_t)(was_data + before.payload_offset - a.at) : a.size;
        size_t end = payload + before.payload_captured;
        search(audit, &(struct beside){a, b, payload, end < b.size ? end : b.size}, found);
        rows[i] = found[R_ADDRESSES] + found[R_MACS] + found[R_WORDS] > so_far;
    }
    return true;
}
