/* Protocols of names, addresses and time: DNS and its kin, DHCP, NTP, SNMP, STUN.
 *
 * Sources: RFC 1035, 6762, 1002, 2782, 3596; 2131, 2132, 8415; 5905; 1157, 3416, X.690; 8489.
 */
#include "anonymise.h"

/* ---- DNS ------------------------------------------------------------------------------------------------ */

enum { LABELS = 40 };

/* A name's labels, as far as it is written here: where each begins, and where the name ends. */
struct name {
    size_t at[LABELS], end;
    unsigned count, tail; /* bytes after the labels: 1, or 2 of a pointer */
    bool broken;
};

static struct name read_name(struct view v, size_t at) {
    struct name name = {.end = at};
    for (unsigned steps = 0; steps < 128; steps++) {
        uint8_t size = read8(v, at);
        if (at >= v.size) break;
        if (size >= 0xC0) {
            name.end = at + (name.tail = 2);
            return name;
        }
        if (size == 0) {
            name.end = at + (name.tail = 1);
            return name;
        }
        if (size > 63 || at + 1 + size > v.size) break;
        if (name.count < LABELS) name.at[name.count++] = at;
        else break;
        at += 1u + size;
    }
    name.broken = true;
    return name;
}

static bool label_is(struct view v, size_t at, const char *text) {
    size_t size = read8(v, at);
    if (size != strlen(text)) return false;
    for (size_t i = 0; i < size; i++) {
        if ((read8(v, at + 1 + i) | 0x20) != (uint8_t)text[i]) return false;
    }
    return true;
}

/* The nibbles of an IPv6 address, last first. */
static bool put_nibbles(struct page *w, struct view v, const struct name *name) {
    uint8_t address[16] = {0};
    for (unsigned i = 0; i < 32; i++) {
        uint8_t c = read8(v, name->at[i] + 1), low = c | 0x20;
        int digit = c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
        if (digit < 0 || read8(v, name->at[i]) != 1) return false;
        address[15 - i / 2] |= (uint8_t)(digit << (i % 2 ? 4 : 0));
    }
    stand_in(w->s, ID_IPV6, address, 16, address);
    w->tallies[T_IPV6]++;
    for (unsigned i = 0; i < 32; i++) *place(w, v, name->at[i] + 1) = (uint8_t) "0123456789abcdef"[address[15 - i / 2] >> (i % 2 ? 4 : 0) & 15];
    return true;
}

/* The numbers of an IPv4 address, last first, for which digits stand that depend on all of them: the address that stands for it
 * may have more digits or fewer. */
static void put_numbers(struct page *w, struct view v, const struct name *name, unsigned count) {
    uint8_t text[WORD];
    size_t used = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t size = read8(v, name->at[i]);
        if (used + size + 1 > WORD) return;
        memcpy(text + used, v.at + name->at[i] + 1, size);
        used += size;
        text[used++] = '.';
    }
    stand_in(w->s, ID_DIGITS, text, used, text);
    w->tallies[T_NAME]++;
    for (unsigned i = 0, from = 0; i < count; i++) {
        size_t size = read8(v, name->at[i]);
        memcpy(place(w, v, name->at[i] + 1), text + from, size);
        from += (unsigned)size + 1;
    }
}

/* Writes the name at `at`; where it ends, or the end of the message when it is broken. */
static size_t put_name(struct page *w, struct view v, size_t at) {
    struct name name = read_name(v, at);
    unsigned done = 0, count = name.count;
    bool reversed = count >= 2 && label_is(v, name.at[count - 1], "arpa");
    if (name.broken) return v.size;
    for (unsigned i = 0; i < count; i++) keep(w, v, name.at[i], 1);
    keep(w, v, name.end - name.tail, name.tail);
    if (reversed && count == 34 && label_is(v, name.at[32], "ip6") && put_nibbles(w, v, &name)) done = 32;
    if (reversed && label_is(v, name.at[count - 2], "in-addr")) put_numbers(w, v, &name, count - 2), done = count - 2;
    for (unsigned i = done; i < count; i++) put_public(w, v, name.at[i] + 1, name.at[i] + 1 + read8(v, name.at[i]));
    return name.end;
}

static void put_record(struct page *w, struct view v, uint16_t type, size_t at, size_t size) {
    enum { A = 1, NS = 2, CNAME = 5, SOA = 6, PTR = 12, MX = 15, TXT = 16, AAAA = 28, NB = 32, SRV = 33, DNAME = 39, OPT = 41, NSEC = 47 };
    struct view record = view_first(v, at + size);
    switch (type) {
        case A: if (size == 4) put_ipv4(w, record, at); return;
        case AAAA: if (size == 16) put_ipv6(w, record, at); return;
        case NS: case CNAME: case PTR: case DNAME: put_name(w, record, at); return;
        case MX: keep(w, record, at, 2); put_name(w, record, at + 2); return;
        case SRV: keep(w, record, at, 6); put_name(w, record, at + 6); return;
        case SOA: at = put_name(w, record, put_name(w, record, at)); keep(w, record, at, 20); return;
        case NSEC: at = put_name(w, record, at); keep_codes(w, record, at, at < record.size ? record.size - at : 0); return;
        case NB:
            for (; at + 6 <= record.size; at += 6) keep(w, record, at, 2), put_ipv4(w, record, at + 2);
            return;
        case OPT: /* of each option its code and its size */
            for (; at + 4 <= record.size; at += 4u + read16(record, at + 2)) keep(w, record, at, 4);
            return;
        case TXT:
            for (; at < record.size; at += 1u + read8(record, at)) {
                keep(w, record, at, 1);
                put_words(w, record, at + 1, at + 1 + read8(record, at));
            }
            return;
        default: return;
    }
}

bool scrub_dns(struct page *w, struct view v) {
    if (v.size < 12) return false;
    unsigned questions = read16(v, 4), records = read16(v, 6) + read16(v, 8) + read16(v, 10);
    keep(w, v, 0, 12);
    size_t at = 12;
    for (; questions && at < v.size; questions--) {
        at = put_name(w, v, at);
        keep(w, v, at, 4);
        at += 4;
    }
    for (; records && at < v.size; records--) {
        at = put_name(w, v, at);
        keep(w, v, at, 10);
        size_t size = read16(v, at + 8);
        if (at + 10 <= v.size) put_record(w, v, read16(v, at), at + 10, size);
        at += 10 + size;
    }
    return true;
}

bool scrub_dns_stream(struct page *w, struct view v) {
    size_t size = read16(v, 0);
    if (size < 12 || v.size < 14) return false;
    keep(w, v, 0, 2);
    return scrub_dns(w, view_from(view_first(v, size + 2), 2));
}

/* ---- DHCP ------------------------------------------------------------------------------------------------- */

enum handling { BLANK, STAYS, ADDRESSES, WORDS, CLIENT };

static enum handling dhcp_option(uint8_t code) {
    static const uint8_t stays[] = {1, 2, 19, 20, 23, 26, 31, 37, 46, 51, 52, 53, 55, 57, 58, 59, 116};
    static const uint8_t addresses[] = {3, 4, 5, 6, 7, 8, 9, 10, 11, 28, 41, 42, 44, 45, 48, 49, 50, 54};
    static const uint8_t words[] = {12, 14, 15, 17, 40, 56, 60, 62, 66, 67, 77};
    for (size_t i = 0; i < sizeof stays; i++) if (stays[i] == code) return STAYS;
    for (size_t i = 0; i < sizeof addresses; i++) if (addresses[i] == code) return ADDRESSES;
    for (size_t i = 0; i < sizeof words; i++) if (words[i] == code) return WORDS;
    return code == 61 ? CLIENT : BLANK;
}

bool scrub_dhcp(struct page *w, struct view v) {
    enum { FIXED = 236, PAD = 0, END = 255 };
    if (v.size < FIXED || read8(v, 0) < 1 || read8(v, 0) > 2) return false;
    keep(w, v, 0, 12);
    for (size_t at = 12; at < 28; at += 4) put_ipv4(w, v, at);
    if (read8(v, 1) == 1 && read8(v, 2) == 6) put_mac(w, v, 28);
    if (read32(v, FIXED) != 0x63825363) return true;
    keep(w, v, FIXED, 4);
    for (size_t at = FIXED + 4; at < v.size;) {
        uint8_t code = read8(v, at);
        size_t size = code == PAD || code == END ? 0 : read8(v, at + 1);
        keep(w, v, at, size || (code != PAD && code != END) ? 2 : 1);
        if (code == END) break;
        size_t body = at + (code == PAD ? 1 : 2);
        struct view option = view_first(v, body + size);
        switch (code == PAD ? BLANK : dhcp_option(code)) {
            case STAYS: keep_codes(w, option, body, size); break;
            case ADDRESSES: for (size_t k = body; k + 4 <= option.size; k += 4) put_ipv4(w, option, k); break;
            case WORDS: put_words(w, option, body, option.size); break;
            case CLIENT:
                keep(w, option, body, 1);
                if (size == 7) put_mac(w, option, body + 1);
                break;
            case BLANK: break;
        }
        at = body + size;
    }
    return true;
}

static void put_dhcp6_options(struct page *w, struct view v, size_t at, int depth) {
    enum { IA_NA = 3, IA_TA = 4, IA_ADDRESS = 5, WANTED = 6, PREFERENCE = 7, ELAPSED = 8, RELAYED = 9, STATUS = 13, RAPID = 14, RESOLVERS = 23, IA_PD = 25, IA_PREFIX = 26 };
    while (at + 4 <= v.size) {
        uint16_t code = read16(v, at);
        size_t size = read16(v, at + 2), body = at + 4;
        struct view option = view_first(v, body + size);
        keep(w, v, at, 4);
        if (code == WANTED || code == PREFERENCE || code == ELAPSED) keep_codes(w, option, body, size);
        if (code == STATUS) keep(w, option, body, 2);
        if (code == RESOLVERS) for (size_t k = body; k + 16 <= option.size; k += 16) put_ipv6(w, option, k);
        if (code == IA_ADDRESS) put_ipv6(w, option, body), keep(w, option, body + 16, 8);
        if (code == IA_PREFIX) keep(w, option, body, 9), put_ipv6(w, option, body + 9);
        size_t head = code == IA_NA || code == IA_PD ? 12 : code == IA_TA ? 4 : code == IA_ADDRESS ? 24 : code == IA_PREFIX ? 25 : 0;
        if (head > 4 && head <= 12) keep(w, option, body + 4, head - 4);
        if (head && depth < 4) put_dhcp6_options(w, option, body + head, depth + 1);
        at = body + size;
    }
}

bool scrub_dhcp6(struct page *w, struct view v) {
    uint8_t type = read8(v, 0);
    if (v.size < 4 || type < 1 || type > 13) return false;
    bool relayed = type == 12 || type == 13;
    keep(w, v, 0, relayed ? 2 : 4);
    if (relayed) put_ipv6(w, v, 2), put_ipv6(w, v, 18);
    put_dhcp6_options(w, v, relayed ? 34 : 4, 0);
    return true;
}

/* ---- NTP, SNMP, STUN ---------------------------------------------------------------------------------------- */

/* What clocks show is blank: it tells hosts apart. So is the reference, which is an address. */
bool scrub_ntp(struct page *w, struct view v) {
    uint8_t mode = read8(v, 0) & 7;
    if (v.size < 48 || mode < 1 || mode > 5) return false;
    keep(w, v, 0, 12);
    if (read8(v, 1) <= 1) keep(w, v, 12, 4); /* the kind of clock, or of a refusal */
    return true;
}

/* Tags and lengths stay; version, numbers of requests and errors too. Values, and what object identifiers say beyond their first
 * six bytes, do not. */
static bool put_values(struct page *w, struct view v, size_t at, size_t end, int depth) {
    enum { INTEGER = 2, OCTETS = 4, OBJECT = 6, ADDRESS = 0x40, CONSTRUCTED = 0x20, BLANK_BELOW = 4 };
    while (at + 2 <= end) {
        uint8_t tag = read8(v, at), first = read8(v, at + 1);
        size_t head = 2, size = first;
        if (first & 0x80) {
            unsigned bytes = first & 0x7F;
            if (bytes < 1 || bytes > 3) return false;
            head += bytes;
            size = 0;
            for (unsigned i = 0; i < bytes; i++) size = size << 8 | read8(v, at + 2 + i);
        }
        if ((tag & 0x1F) == 0x1F) return false;
        size_t body = at + head, stop = body + size < end ? body + size : end;
        keep(w, view_first(v, end), at, head);
        bool nested = tag == OCTETS && depth == 1 && read8(v, body) == 0x30 && size > 2; /* of version 3: who asks */
        if (nested) {
            put_values(w, v, body, stop, BLANK_BELOW);
        } else if (tag & CONSTRUCTED && depth < 8) {
            put_values(w, v, body, stop, depth + 1);
        } else if ((tag == INTEGER && depth <= 2) || (tag == OCTETS && depth == 2 && size == 1)) {
            keep(w, view_first(v, stop), body, size);
        } else if (tag == OCTETS && depth <= 1) {
            put_words(w, v, body, stop);
        } else if (tag == OBJECT) {
            keep(w, view_first(v, stop), body, size < 6 ? size : 6);
        } else if (tag == ADDRESS && size == 4) {
            put_ipv4(w, view_first(v, stop), body);
        }
        at = body + size;
    }
    return true;
}

bool scrub_snmp(struct page *w, struct view v) { return read8(v, 0) == 0x30 && put_values(w, v, 0, v.size, 0); }

bool scrub_stun(struct page *w, struct view v) {
    if (v.size < 20 || read32(v, 4) != 0x2112A442 || read8(v, 0) > 3 || read16(v, 2) % 4 || 20u + read16(v, 2) != v.size) return false;
    keep(w, v, 0, 8);
    for (size_t at = 20; at + 4 <= v.size; at += 4 + ((read16(v, at + 2) + 3u) & ~3u)) {
        bool address = read16(v, at) == 1 || read16(v, at) == 0x20;
        keep(w, v, at, address ? 6 : 4); /* of an address its family */
    }
    return true;
}
