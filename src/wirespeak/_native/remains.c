/* What remains of the identifiers of a capture in what was written instead of it: every frame beside the frame that it was.
 *
 * Nothing moves within a frame, so what was not replaced is where it was. Looked for are addresses and MACs where the decoder of
 * headers.c finds them, MACs, IPv6 and 802.15.4 addresses anywhere, and in payload the words that were replaced and the
 * addresses as text. Found are those that stand where they stood and do not stay by rule.
 */
#include "anonymise.h"

#include <stdio.h>
#include <stdlib.h>

enum { HEADS = 1 << 16, SHORTEST = 4, LONGEST = 64 };
enum remain { R_ADDRESSES, R_MACS, R_WORDS, REMAINS };

struct pattern {
    uint32_t next; /* index + 1 of another with this head */
    uint8_t size, kind; /* enum remain */
    bool text;
    uint8_t bytes[LONGEST];
};

struct audit {
    struct standins *s;
    struct pool patterns;
    uint32_t heads[HEADS];
};

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }

static uint32_t head_of(const uint8_t *at) {
    uint32_t code = 0;
    for (int i = 0; i < SHORTEST; i++) code = code << 8 | lower(at[i]);
    return code * 0x9E3779B1u >> 16;
}

static bool add_pattern(struct audit *audit, const uint8_t *bytes, size_t size, enum remain kind, bool text) {
    if (size < SHORTEST || size > LONGEST) return true;
    uint32_t index = pool_take(&audit->patterns), *head = &audit->heads[head_of(bytes)];
    if (index == NONE) return false;
    struct pattern *pattern = pool_at(&audit->patterns, index);
    *pattern = (struct pattern){.next = *head, .size = (uint8_t)size, .kind = (uint8_t)kind, .text = text};
    for (size_t i = 0; i < size; i++) pattern->bytes[i] = text ? lower(bytes[i]) : bytes[i];
    *head = index + 1;
    return true;
}

/* Bytes of which most are zero occur in many heads; they are looked for in their fields alone. */
static bool is_telling(const uint8_t *bytes, size_t size) {
    size_t zeros = 0;
    for (size_t i = 0; i < size; i++) zeros += bytes[i] == 0;
    return size - zeros >= 4;
}

static bool add_identifier(struct audit *audit, const struct entry *entry) {
    const uint8_t *bytes = audit->s->arena + entry->at;
    char text[LONGEST];
    int size;
    bool digits = true;
    if (entry->stays || entry->public) return true;
    switch (entry->kind) {
        case ID_IPV4:
            size = snprintf(text, sizeof text, "%u.%u.%u.%u", bytes[0], bytes[1], bytes[2], bytes[3]);
            return add_pattern(audit, (const uint8_t *)text, (size_t)size, R_ADDRESSES, true);
        case ID_MAC:
            size = snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]);
            return add_pattern(audit, (const uint8_t *)text, (size_t)size, R_MACS, true) &&
                   (!is_telling(bytes, 6) || bytes[0] & 1 || add_pattern(audit, bytes, 6, R_MACS, false));
        case ID_IPV6:
            return !is_telling(bytes, 16) || add_pattern(audit, bytes, 16, R_ADDRESSES, false);
        case ID_NAME:
            for (size_t i = 0; i < entry->size; i++) digits &= bytes[i] >= '0' && bytes[i] <= '9';
            return digits || add_pattern(audit, bytes, entry->size, R_WORDS, true); /* numbers count and measure everywhere */
        default:
            return true;
    }
}

static bool goes_on(uint8_t c) { return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || c == '-' || c == '_'; }

/* Looks at both frames where their bytes agree. */
static void search(const struct audit *audit, struct view was, struct view is, size_t payload, size_t payload_end, uint64_t *found) {
    for (size_t at = 0; at + SHORTEST <= is.size; at++) {
        if (is.at[at] == 0 || memcmp(was.at + at, is.at + at, SHORTEST) != 0) continue;
        for (uint32_t next = audit->heads[head_of(is.at + at)]; next;) {
            const struct pattern *pattern = pool_at(&audit->patterns, next - 1);
            next = pattern->next;
            size_t size = pattern->size, k = 0;
            if (size > is.size - at || (pattern->text && (at < payload || at + size > payload_end))) continue;
            while (k < size && is.at[at + k] == was.at[at + k] && (pattern->text ? lower(is.at[at + k]) : is.at[at + k]) == pattern->bytes[k]) k++;
            if (k < size) continue;
            bool within = pattern->text && ((at > payload && goes_on(is.at[at - 1])) || (at + size < payload_end && goes_on(is.at[at + size])));
            found[pattern->kind] += !within;
        }
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

EXPORT void wirespeak_audit_end(struct audit *audit) {
    if (audit) pool_end(&audit->patterns);
    free(audit);
}

/* A search for what was replaced; NULL without memory. `s` begins the anonymiser. */
EXPORT struct audit *wirespeak_audit_start(struct standins *s) {
    struct audit *audit = calloc(1, sizeof *audit);
    if (!audit) return NULL;
    audit->s = s;
    pool_start(&audit->patterns, sizeof(struct pattern));
    bool added = true;
    for (uint32_t i = 0; i < s->entries.taken && added; i++) added = add_identifier(audit, pool_at(&s->entries, i));
    if (added) return audit;
    wirespeak_audit_end(audit);
    return NULL;
}

/* Adds to `found` what remains of each frame `was` in the frame `is` of the same row. False when the frames cannot be those. */
EXPORT bool wirespeak_audit_frames(const struct audit *audit, const uint8_t *was_data, size_t was_size, const struct frame_columns *was,
                                   const uint8_t *is_data, size_t is_size, const struct frame_columns *is, uint64_t found[REMAINS]) {
    for (int64_t i = 0; i < was->count; i++) {
        struct packet before, after;
        uint16_t unused;
        struct view a = view_first(view_from((struct view){was_data, was_size}, (uint64_t)was->offset[i]), was->captured[i]);
        struct view b = view_first(view_from((struct view){is_data, is_size}, (uint64_t)is->offset[i]), is->captured[i]);
        if (was->length[i] != is->length[i] || b.size > a.size) return false;
        bool read = decode_packet(&before, was_data, was_size, was, i, &unused) == 0;
        bool both = read && decode_packet(&after, is_data, is_size, is, i, &unused) == 0;
        if (both) compare(audit, &before, &after, found);
        size_t payload = before.payload_captured ? (size_t)(was_data + before.payload_offset - a.at) : a.size;
        search(audit, a, b, payload, payload + before.payload_captured < b.size ? payload + before.payload_captured : b.size, found);
    }
    return true;
}
