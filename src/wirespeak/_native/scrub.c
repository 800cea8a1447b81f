/* What applications say, so that nobody is named: which drawer takes a payload, and words.
 *
 * A drawer keeps the shape of the messages that it knows. A payload that none takes, or that goes on with a message of an
 * earlier segment, is blank.
 */
#include "anonymise.h"

static bool is_word(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_' || c >= 0x80 ||
           (c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7F;
}

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static bool is_hex(uint8_t c) { return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); }
static bool is_upper(uint8_t c) { return c >= 'A' && c <= 'Z'; }

static void put_word(struct page *w, struct view v, size_t at, size_t size, enum identifier kind, bool public) {
    uint8_t word[WORD] = {0};
    for (size_t i = 0; i < size; i++) word[i] = is_upper(v.at[at + i]) ? v.at[at + i] | 0x20 : v.at[at + i];
    if (public && is_public(word, size)) {
        keep(w, v, at, size);
        return;
    }
    stand_in(w->s, kind, word, size, word);
    uint8_t *out = place(w, v, at);
    for (size_t i = 0; i < size; i++) out[i] = is_upper(v.at[at + i]) && word[i] >= 'a' && word[i] <= 'z' ? word[i] & 0xDF : word[i];
    w->tallies[T_NAME]++;
}

/* How many bytes from here on are one number of parts, as addresses, versions and times are written: 10.0.0.1, 00:1b:21:...; 0 when
 * none. What stands for it depends on all of it: parts alone would be a code that is easily broken. */
static size_t parts_of(struct view v, size_t at, size_t end) {
    size_t dotted = 0, coloned = 0, colons = 0;
    bool dots = false;
    while (at + dotted < end && dotted < WORD && (is_digit(v.at[at + dotted]) || v.at[at + dotted] == '.')) dots |= v.at[at + dotted++] == '.';
    while (dotted && v.at[at + dotted - 1] == '.') dotted--;
    while (at + coloned < end && coloned < WORD && (is_hex(v.at[at + coloned]) || v.at[at + coloned] == ':')) colons += v.at[at + coloned++] == ':';
    size_t size = colons > 1 ? coloned : dots && memchr(v.at + at, '.', dotted) ? dotted : 0;
    return size && (at + size == end || !is_word(v.at[at + size])) ? size : 0;
}

static void put_text(struct page *w, struct view v, size_t at, size_t end, bool public) {
    if (end > v.size) end = v.size;
    while (at < end) {
        size_t size = is_hex(v.at[at]) ? parts_of(v, at, end) : 0, parts = size;
        while (!parts && at + size < end && size < WORD && is_word(v.at[at + size])) size++;
        if (parts) put_word(w, v, at, size, ID_DIGITS, false);
        else if (size) put_word(w, v, at, size, ID_NAME, public);
        else keep(w, v, at, size = 1);
        at += size;
    }
}

void keep_codes(struct page *w, struct view v, size_t at, size_t size) {
    enum { LONGEST = 3 };
    size_t end = at < v.size && size < v.size - at ? at + size : v.size;
    while (at < end) {
        size_t run = 0;
        while (at + run < end && is_word(v.at[at + run]) && v.at[at + run] >= '-' && v.at[at + run] < 0x7F) run++;
        if (run <= LONGEST) keep(w, v, at, run ? run : 1);
        at += run ? run : 1;
    }
}

void put_words(struct page *w, struct view v, size_t at, size_t end) { put_text(w, v, at, end, false); }
void put_public(struct page *w, struct view v, size_t at, size_t end) { put_text(w, v, at, end, true); }

/* The drawers in the order in which they are tried; port 0: known by content. Python names them in this order. */
static const struct drawer {
    uint8_t protocol;
    uint16_t port, last;
    scrubber *scrub;
    uint8_t name;
} drawers[] = {
    {TCP, 53, 53, scrub_dns_stream, 1},  {UDP, 53, 53, scrub_dns, 1},      {UDP, 5353, 5353, scrub_dns, 1}, {UDP, 5355, 5355, scrub_dns, 1},
    {UDP, 137, 137, scrub_dns, 1},       {UDP, 67, 68, scrub_dhcp, 2},     {UDP, 546, 547, scrub_dhcp6, 2}, {UDP, 123, 123, scrub_ntp, 3},
    {UDP, 161, 162, scrub_snmp, 4},      {UDP, 514, 514, scrub_syslog, 5}, {UDP, 5683, 5683, scrub_coap, 6}, {UDP, 47808, 47823, scrub_bacnet, 7},
    {TCP, 502, 502, scrub_modbus, 8},    {TCP, 20000, 20000, scrub_dnp3, 9}, {UDP, 20000, 20000, scrub_dnp3, 9},
    {TCP, 0, 0, scrub_text, 10},         {UDP, 0, 0, scrub_text, 10},      {TCP, 0, 0, scrub_tls, 11},      {UDP, 0, 0, scrub_dtls, 11},
    {TCP, 0, 0, scrub_ssh, 12},          {TCP, 22, 22, scrub_ssh_packets, 12}, {TCP, 1883, 1884, scrub_mqtt, 13}, {TCP, 21, 21, scrub_lines, 14}, {TCP, 25, 25, scrub_lines, 14},
    {TCP, 587, 587, scrub_lines, 14},    {TCP, 110, 110, scrub_lines, 14}, {TCP, 143, 143, scrub_lines, 14}, {UDP, 0, 0, scrub_stun, 15},
};

void scrub_payload(struct page *w, struct span payload, uint16_t protocol, uint16_t src_port, uint16_t dst_port) {
    struct view v = view_first(payload.bytes, payload.wire);
    if (v.size == 0) return;
    uint8_t name = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(drawers) && protocol != NO_PROTOCOL; i++) {
        const struct drawer *drawer = &drawers[i];
        bool fits = !drawer->port || (src_port >= drawer->port && src_port <= drawer->last) || (dst_port >= drawer->port && dst_port <= drawer->last);
        if (drawer->protocol != protocol || !fits) continue;
        if (drawer->scrub(w, v)) {
            name = drawer->name;
            break;
        }
        memset(place(w, v, 0), 0, v.size);
    }
    w->drawer_packets[name]++;
    w->drawer_bytes[name] += payload.bytes.size;
}
