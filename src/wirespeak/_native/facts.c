/* Facts and first packets: what hangs on the rows that have something, and how Python gets it as columns. */
#include "facts.h"
#include "texts.h"

#include <stdlib.h>

#define NAMED(name) #name,
static const char *const NAMES[] = {FACTS(NAMED)};
#undef NAMED

enum { FIRST_ROOM = 192, FIRST_EARLY = 4 };

/* One of a row's first packets. */
struct early {
    int64_t time_ns;
    uint32_t bytes;
    uint8_t forward;
};

/* ---- captured text -------------------------------------------------------------------------------------- */

/* Code points beyond ASCII that are not printed: controls, formats, separators, private use, noncharacters (Unicode 15). */
static const uint32_t UNPRINTED[][2] = {
    {0x80, 0xA0}, {0xAD, 0xAD}, {0x600, 0x605}, {0x61C, 0x61C}, {0x6DD, 0x6DD}, {0x70F, 0x70F},
    {0x890, 0x891}, {0x8E2, 0x8E2}, {0x1680, 0x1680}, {0x180E, 0x180E}, {0x2000, 0x200F}, {0x2028, 0x202F},
    {0x205F, 0x206F}, {0x3000, 0x3000}, {0xD800, 0xF8FF}, {0xFDD0, 0xFDEF}, {0xFEFF, 0xFEFF},
    {0xFFF9, 0xFFFB}, {0x110BD, 0x110BD}, {0x110CD, 0x110CD}, {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A},
    {0xE0000, 0xE0FFF}, {0xF0000, 0xFFFFD}, {0x100000, 0x10FFFD},
};

static bool is_printed(uint32_t point) {
    for (size_t i = 0; i < ARRAY_LENGTH(UNPRINTED) && UNPRINTED[i][0] <= point; i++) {
        if (point <= UNPRINTED[i][1]) return false;
    }
    return (point & 0xFFFE) != 0xFFFE;
}

static bool is_plain(uint8_t byte, const char *dividers) {
    return byte >= ' ' && byte < 127 && byte != '\\' && !(*dividers && strchr(dividers, byte));
}

/* The size of the printed characters that begin here: so many plain ones at most, or one beyond ASCII; 0 where there is
 * none (RFC 3629). */
static size_t printed_size(struct view v, const char *dividers, size_t most) {
    size_t plain = 0;
    while (plain < most && plain < v.size && is_plain(v.at[plain], dividers)) plain++;
    uint8_t first = v.at[0];
    if (plain || first < 0x80) return plain;
    size_t size = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (!size || v.size < size) return 0;
    uint32_t point = first & (0x7Fu >> size);
    for (size_t i = 1; i < size; i++) {
        if (v.at[i] >> 6 != 2) return 0;
        point = point << 6 | (v.at[i] & 63);
    }
    return point >= least[size] && point <= 0x10FFFF && is_printed(point) ? size : 0;
}

static void add(struct saying *s, const void *bytes, size_t size) {
    s->full |= size > (size_t)FACT_ROOM - s->size;
    if (s->full) return;
    memcpy(s->bytes + s->size, bytes, size);
    s->size = (uint8_t)(s->size + size);
}

void say(struct saying *s, const char *text) { add(s, text, strlen(text)); }

void say_number(struct saying *s, uint64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    do digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    add(s, digits + at, sizeof digits - at);
}

void say_hex(struct saying *s, uint32_t number, int digits) {
    while (digits--) add(s, &"0123456789abcdef"[number >> 4 * digits & 15], 1);
}

void say_address(struct saying *s, struct view address) {
    uint8_t bytes[16] = {0};
    char text[ADDRESS_TEXT];
    bool short_one = address.size == 4;
    read_bytes(address, 0, bytes + (short_one ? 12 : 0), short_one ? 4 : 16);
    add(s, text, address_text(text, bytes, short_one ? 4 : 6));
}

void say_captured(struct saying *s, struct view captured, const char *dividers) {
    for (size_t i = 0; i < captured.size && !s->full;) {
        struct view rest = view_from(captured, i);
        size_t size = printed_size(rest, dividers, FACT_ROOM - s->size);
        if (size) {
            add(s, rest.at, size);
        } else {
            struct saying escaped = {.size = 0};
            say(&escaped, "\\x");
            say_hex(&escaped, rest.at[0], 2);
            add(s, escaped.bytes, escaped.size);
        }
        i += size ? size : 1;
    }
}

/* ---- what hangs on a row -------------------------------------------------------------------------------- */

/* With so much more room for facts; false without memory. */
static bool make_room(struct flow_row *row, size_t more) {
    struct attachment *a = row->attached;
    size_t used = a ? a->size : 0, room = a ? a->room : 0;
    if (a && used + more <= room) return true;
    for (room = room ? room : FIRST_ROOM; room < used + more;) room *= 2;
    struct attachment *grown = realloc(a, sizeof *grown + room);
    if (!grown) return false;
    if (!a) memset(grown, 0, sizeof *grown);
    grown->room = (uint16_t)room;
    row->attached = grown;
    return true;
}

void fact_put(struct flow_row *row, enum fact fact, const struct saying *s) {
    if (fact_known(row, fact) || !make_room(row, 2u + s->size)) return;
    struct attachment *a = row->attached;
    uint8_t *at = a->facts + a->size;
    at[0] = (uint8_t)fact;
    at[1] = s->size;
    memcpy(at + 2, s->bytes, s->size);
    a->size = (uint16_t)(a->size + 2 + s->size);
    a->known |= UINT64_C(1) << fact;
}

/* Where a fact that is known stands. */
static const uint8_t *find_fact(const struct attachment *a, enum fact fact) {
    const uint8_t *at = a->facts;
    while (at[0] != fact) at += 2 + at[1];
    return at;
}

void fact_forget(struct flow_row *row, enum fact fact) {
    if (!fact_known(row, fact)) return;
    struct attachment *a = row->attached;
    size_t from = (size_t)(find_fact(a, fact) - a->facts), size = 2u + a->facts[from + 1];
    memmove(a->facts + from, a->facts + from + size, a->size - from - size);
    a->size = (uint16_t)(a->size - size);
    a->known &= ~(UINT64_C(1) << fact);
}

void fact_captured(struct flow_row *row, enum fact fact, struct view captured) {
    struct saying s = {.size = 0};
    if (fact_known(row, fact)) return;
    say_captured(&s, captured, "");
    fact_put(row, fact, &s);
}

void fact_words(struct flow_row *row, enum fact fact, const char *text) {
    struct saying s = {.size = 0};
    say(&s, text);
    fact_put(row, fact, &s);
}

void fact_number(struct flow_row *row, enum fact fact, uint64_t number) {
    struct saying s = {.size = 0};
    say_number(&s, number);
    fact_put(row, fact, &s);
}

void fact_named(struct flow_row *row, enum fact fact, const struct named *names, size_t count, uint32_t number, const char *prefix) {
    struct saying s = {.size = 0};
    size_t i = 0;
    while (i < count && names[i].number != number) i++;
    say(&s, i < count ? names[i].name : prefix);
    if (i == count) say_number(&s, number);
    fact_put(row, fact, &s);
}

struct view unfinished(const struct flow_row *row, int side) {
    if (!row->attached) return (struct view){0};
    const struct piece *piece = &row->attached->unfinished[side];
    return (struct view){piece->bytes, piece->size};
}

struct view gather(struct flow_row *row, int side, struct view more) {
    if (!make_room(row, 0)) return more;
    struct piece *piece = &row->attached->unfinished[side];
    uint8_t *bytes = realloc(piece->bytes, piece->size + more.size + 1);
    if (!bytes) return more;
    memcpy(bytes + piece->size, more.at, more.size);
    *piece = (struct piece){bytes, piece->size + (uint32_t)more.size};
    return (struct view){piece->bytes, piece->size};
}

void let_go(struct flow_row *row, int side) {
    if (!row->attached) return;
    free(row->attached->unfinished[side].bytes);
    row->attached->unfinished[side] = (struct piece){0};
}

void attached_free(struct attachment *attached) {
    if (!attached) return;
    for (int side = 0; side < 2; side++) free(attached->unfinished[side].bytes);
    free(attached->early);
    free(attached);
}

void early_keep(struct flow_row *row, const struct packet *p, int side, uint8_t most) {
    if ((row->attached && row->attached->early_count >= most) || !make_room(row, 0)) return;
    struct attachment *a = row->attached;
    if (a->early_count == a->early_room) {
        uint16_t room = a->early_room ? a->early_room * 2 : FIRST_EARLY;
        struct early *grown = realloc(a->early, room * sizeof *grown);
        if (!grown) return;
        a->early = grown;
        a->early_room = room;
    }
    a->early[a->early_count++] = (struct early){p->time_ns, p->network_bytes, side == 0};
}

/* ---- what Python calls ---------------------------------------------------------------------------------- */

/* The name of a fact, NULL beyond the last. */
EXPORT const char *wirespeak_fact(size_t fact) { return fact < FACT_COUNT ? NAMES[fact] : NULL; }

/* Lets go of what hung on rows. */
EXPORT void wirespeak_attached_free(struct attachment *const *attached, int64_t count) {
    for (int64_t i = 0; i < count; i++) attached_free(attached[i]);
}

/* Which facts some of these rows have, a bit for each. */
EXPORT uint64_t wirespeak_facts_known(const struct attachment *const *attached, int64_t count) {
    uint64_t known = 0;
    for (int64_t i = 0; i < count; i++) known |= attached[i] ? attached[i]->known : 0;
    return known;
}

/* One fact of all rows, null where a row does not have it; false without memory. */
EXPORT bool wirespeak_fact_texts(const struct attachment *const *attached, int64_t count, uint8_t fact, struct ArrowSchema *schema,
                                 struct ArrowArray *array) {
    struct texts texts;
    size_t size = 0;
    for (int64_t i = 0; i < count; i++) size += attached[i] && attached[i]->known >> fact & 1 ? find_fact(attached[i], fact)[1] : 0;
    if (!texts_start(&texts, count, size)) return false;
    for (int64_t i = 0; i < count; i++) {
        if (!attached[i] || !(attached[i]->known >> fact & 1)) {
            texts_none(&texts);
            continue;
        }
        const uint8_t *at = find_fact(attached[i], fact);
        memcpy(texts_next(&texts), at + 2, at[1]);
        texts_wrote(&texts, at[1]);
    }
    texts_give(&texts, schema, array);
    return true;
}

/* How many first packets each row keeps; returns their sum. */
EXPORT int64_t wirespeak_early_counts(const struct attachment *const *attached, int64_t count, uint32_t *counts) {
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++) sum += counts[i] = attached[i] ? attached[i]->early_count : 0;
    return sum;
}

/* Writes the first packets of all rows, one after the other. */
EXPORT void wirespeak_early_packets(const struct attachment *const *attached, int64_t count, int64_t *bytes, bool *forward, int64_t *time_ns) {
    for (int64_t i = 0; i < count; i++) {
        for (size_t k = 0; attached[i] && k < attached[i]->early_count; k++) {
            const struct early *early = &attached[i]->early[k];
            *bytes++ = early->bytes;
            *forward++ = early->forward;
            *time_ns++ = early->time_ns;
        }
    }
}
