/* DNS, mDNS and LLMNR, in datagrams and over TCP. Sources: RFC 1035, 6762, 4795; names of numbers: IANA's DNS parameters. */
#include "conversation.h"

enum { HEAD = 12, MOST_JUMPS = 32, NAME_ROOM = 255 };

static const struct named TYPES[] = {
    {1, "A"}, {2, "NS"}, {5, "CNAME"}, {6, "SOA"}, {10, "NULL"}, {12, "PTR"}, {13, "HINFO"}, {15, "MX"}, {16, "TXT"}, {17, "RP"},
    {24, "SIG"}, {25, "KEY"}, {28, "AAAA"}, {29, "LOC"}, {33, "SRV"}, {35, "NAPTR"}, {37, "CERT"}, {39, "DNAME"}, {41, "OPT"},
    {43, "DS"}, {44, "SSHFP"}, {45, "IPSECKEY"}, {46, "RRSIG"}, {47, "NSEC"}, {48, "DNSKEY"}, {50, "NSEC3"}, {51, "NSEC3PARAM"},
    {52, "TLSA"}, {53, "SMIMEA"}, {55, "HIP"}, {59, "CDS"}, {60, "CDNSKEY"}, {61, "OPENPGPKEY"}, {62, "CSYNC"}, {63, "ZONEMD"},
    {64, "SVCB"}, {65, "HTTPS"}, {99, "SPF"}, {249, "TKEY"}, {250, "TSIG"}, {251, "IXFR"}, {252, "AXFR"}, {255, "ANY"}, {256, "URI"},
    {257, "CAA"},
};
static const struct named CODES[] = {
    {0, "NOERROR"}, {1, "FORMERR"}, {2, "SERVFAIL"}, {3, "NXDOMAIN"}, {4, "NOTIMP"}, {5, "REFUSED"}, {6, "YXDOMAIN"}, {7, "YXRRSET"},
    {8, "NXRRSET"}, {9, "NOTAUTH"}, {10, "NOTZONE"}, {11, "DSOTYPENI"},
};

/* Records whose data is an address, or has a name so many bytes in. */
enum { A = 1, AAAA = 28, NO_NAME = UINT8_MAX };
static const struct {
    uint16_t type;
    uint8_t name_at;
} TOLD[] = {{A, NO_NAME}, {AAAA, NO_NAME}, {2, 0}, {5, 0}, {12, 0}, {39, 0}, {15, 2}, {33, 6}};

static bool is_dns(struct view v) {
    uint16_t flags = read16(v, 2);
    return v.size >= HEAD && (flags & 0x0040) == 0 && read16(v, 4) <= 64 && read16(v, 6) <= 512;
}

bool mdns_speaks(const struct speech *s) { return uses_port(s, 5353) && is_dns(s->payload); }
bool dns_speaks(const struct speech *s) { return (uses_port(s, 53) || uses_port(s, 5355)) && is_dns(s->payload); }
bool dns_speaks_in_frames(const struct speech *s) { return uses_port(s, 53) && s->payload.size >= 14 && is_dns(view_from(s->payload, 2)); }

uint64_t dns_size(struct view v) { return v.size >= 14 ? 2u + read16(v, 0) : 0; }

void dns_hear(struct conversation *c, struct flow_row *row, const struct speech *s) {
    (void)c;
    count_message(row, s);
    row->errors += (read8(s->payload, 2) & 0x80) && (read8(s->payload, 3) & 15);
}

/* Puts a name into words, which may go on elsewhere in the message (section 4.1.4). Returns where what follows the name
 * begins, 0 when it is none. */
static size_t say_name(struct saying *words, struct view v, size_t at, const char *dividers) {
    size_t after = 0, spent = 0, jumps = 0;
    while (at < v.size) {
        uint8_t size = v.at[at];
        if (size >> 6 == 3) {
            if (!after) after = at + 2;
            if (++jumps > MOST_JUMPS || at + 2 > v.size) return 0;
            at = read16(v, at) & 0x3FFF;
        } else if (size == 0) {
            if (!spent) say(words, ".");
            return after ? after : at + 1;
        } else {
            if (size > 63 || at + 1 + size > v.size || spent + size + 1 > NAME_ROOM) return 0;
            if (spent) say(words, ".");
            say_captured(words, view_first(view_from(v, at + 1), size), dividers);
            spent += size + 1u;
            at += 1u + size;
        }
    }
    return 0;
}

/* Adds what a record's data says, where that is an address or a name; only the first one may be cut. */
static void say_record(struct saying *words, struct view v, size_t at, uint16_t type, uint16_t size) {
    uint8_t before = words->size;
    for (size_t i = 0; i < ARRAY_LENGTH(TOLD); i++) {
        if (TOLD[i].type != type) continue;
        bool address = TOLD[i].name_at == NO_NAME, said = address && size == (type == A ? 4 : 16);
        if (before) say(words, " ");
        if (said) say_address(words, view_first(view_from(v, at), size));
        else if (!address && size > TOLD[i].name_at) said = say_name(words, v, at + TOLD[i].name_at, ". ");
        if (!said || (words->full && before)) words->size = before;
    }
}

/* Where what follows a name begins, 0 when it is none. */
static size_t after_name(struct view v, size_t at) {
    for (; at < v.size; at += 1u + v.at[at]) {
        if (v.at[at] == 0) return at + 1;
        if (v.at[at] > 63) return v.at[at] >> 6 == 3 ? at + 2 : 0;
    }
    return 0;
}

static void tell_question(struct flow_row *row, struct view v) {
    struct saying name = {.size = 0};
    size_t at = say_name(&name, v, HEAD, ".");
    if (!at || at + 4 > v.size) return;
    fact_put(row, FACT_dns_query, &name);
    FACT_NAMED(row, FACT_dns_query_type, TYPES, read16(v, at), "TYPE");
}

static void tell_answers(struct flow_row *row, struct view v) {
    enum { RECORD_HEAD = 10, QUESTION_TAIL = 4 };
    struct saying words = {.size = 0};
    size_t at = HEAD;
    FACT_NAMED(row, FACT_dns_rcode, CODES, read8(v, 3) & 15, "RCODE");
    for (int left = read16(v, 4); left && at; left--) {
        at = after_name(v, at);
        at += at ? QUESTION_TAIL : 0;
    }
    for (int left = read16(v, 6); left && at; left--) {
        at = after_name(v, at);
        if (!at || at + RECORD_HEAD > v.size) break;
        uint16_t type = read16(v, at), size = read16(v, at + 8);
        at += RECORD_HEAD;
        if (at + size > v.size) break;
        say_record(&words, v, at, type, size);
        at += size;
    }
    if (words.size) fact_put(row, FACT_dns_answers, &words);
}

bool dns_tell(struct flow_row *row, const struct speech *s, bool last) {
    struct view v = s->payload;
    bool asks = !fact_known(row, FACT_dns_query), answers = !fact_known(row, FACT_dns_rcode);
    if ((!asks && !answers) || !last) return asks || answers;
    if (!is_dns(v)) return false;
    if (asks && read16(v, 4)) tell_question(row, v);
    if (answers && v.at[2] & 0x80) tell_answers(row, v);
    return false;
}
