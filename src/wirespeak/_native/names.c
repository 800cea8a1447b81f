/* Addresses as text: IPv4 in dots, IPv6 as RFC 5952 says (never in dots), 802.15.4 as network/address. */
#include "native.h"

static char *put_number(char *at, unsigned number) {
    if (number >= 100) *at++ = (char)('0' + number / 100);
    if (number >= 10) *at++ = (char)('0' + number / 10 % 10);
    *at++ = (char)('0' + number % 10);
    return at;
}

static char *put_hex(char *at, unsigned number, int least) {
    static const char digits[] = "0123456789abcdef";
    for (int shift = 12; shift >= 0; shift -= 4) {
        if (number >> shift || shift < least * 4) *at++ = digits[number >> shift & 15];
    }
    return at;
}

static char *put_ipv4(char *at, const uint8_t *bytes) {
    for (int i = 12; i < 16; i++) {
        if (i > 12) *at++ = '.';
        at = put_number(at, bytes[i]);
    }
    return at;
}

static char *put_ipv6(char *at, const uint8_t *bytes) {
    struct view v = {bytes, 16};
    size_t zeros = 8, count = 1; /* the first longest run of at least two groups of zeros */
    for (size_t from = 0; from < 8; from++) {
        size_t to = from;
        while (to < 8 && read16(v, to * 2) == 0) to++;
        if (to - from > count) zeros = from, count = to - from;
    }
    for (size_t i = 0; i < 8; i++) {
        if (i == zeros) {
            *at++ = ':';
            if (i + count == 8) *at++ = ':';
            i += count - 1;
            continue;
        }
        if (i) *at++ = ':';
        at = put_hex(at, read16(v, i * 2), 1);
    }
    return at;
}

static char *put_pan(char *at, const uint8_t *bytes) {
    struct view v = {bytes, 16};
    at = put_hex(at, read16(v, 6), 4);
    *at++ = '/';
    for (size_t i = 16u - bytes[5]; i < 16; i += 2) at = put_hex(at, read16(v, i), 4);
    if (bytes[5] == 0) *at++ = '-';
    return at;
}

size_t address_text(char *out, const uint8_t address[16], uint8_t family) {
    char *end = family == 4 ? put_ipv4(out, address) : family == 6 ? put_ipv6(out, address) : put_pan(out, address);
    return (size_t)(end - out);
}

/* The columns that the counts of context become, one after the other: of each key, window and quantity the count and its grade, or
 * the share of the key's flows in percent, rounded half up, and in tenths. */
EXPORT void wirespeak_context_columns(const uint32_t *counts, int64_t rows, int64_t *out) {
    enum { SHARES_FROM = UNANSWERED };
    for (int of = 0; of < KEYS * WINDOWS; of++) {
        const uint32_t *flows = counts + (size_t)of * QUANTITIES * (size_t)rows;
        for (int quantity = 0; quantity < QUANTITIES; quantity++, out += 2 * rows) {
            const uint32_t *count = flows + (size_t)quantity * (size_t)rows;
            int64_t *value = out, *coarse = out + rows;
            for (int64_t i = 0; i < rows && quantity < SHARES_FROM; i++) {
                value[i] = count[i];
                coarse[i] = 63 - __builtin_clzll(count[i] + UINT64_C(1));
            }
            for (int64_t i = 0; i < rows && quantity >= SHARES_FROM; i++) {
                uint64_t whole = flows[i] ? flows[i] : 1;
                value[i] = (int64_t)((UINT64_C(200) * count[i] + whole) / (2 * whole));
                coarse[i] = (value[i] + 5) / 10;
            }
        }
    }
}

/* Where the values of one field are put, one after the other. */
struct column {
    size_t offset, size;
    uint8_t *values;
};

/* Asks for a part of rows before it is needed. */
static void expect_rows(const uint8_t *rows, size_t row_size, const int64_t *order, int64_t from, int64_t to, size_t part) {
    for (int64_t i = from; i < to; i++) __builtin_prefetch(rows + (size_t)order[i] * row_size + part);
}

/* Takes the rows apart into columns, in the order given; a few rows at a time, so that they stay in the cache. Meanwhile the next few
 * are asked for. */
EXPORT void wirespeak_take_apart(const uint8_t *rows, size_t row_size, const int64_t *order, int64_t count,
                                 const struct column *columns, size_t column_count) {
    enum { ROWS = 128, LINE = 64 };
    for (int64_t from = 0; from < count; from += ROWS) {
        int64_t to = count - from < ROWS ? count : from + ROWS;
        int64_t next = count - to < ROWS ? count : to + ROWS;
        size_t asked = 0;
        for (const struct column *column = columns; column < columns + column_count; column++) {
            if (asked < row_size && (size_t)(column - columns) * row_size >= asked * column_count) {
                expect_rows(rows, row_size, order, to, next, asked);
                asked += LINE;
            }
            const uint8_t *field = rows + column->offset;
            uint8_t *value = column->values + (size_t)from * column->size;
            switch (column->size) {
                case 8: for (int64_t i = from; i < to; i++, value += 8) memcpy(value, field + (size_t)order[i] * row_size, 8); break;
                case 4: for (int64_t i = from; i < to; i++, value += 4) memcpy(value, field + (size_t)order[i] * row_size, 4); break;
                case 1: for (int64_t i = from; i < to; i++, value++) *value = field[(size_t)order[i] * row_size]; break;
                default: for (int64_t i = from; i < to; i++, value += column->size) memcpy(value, field + (size_t)order[i] * row_size, column->size);
            }
        }
    }
}
