/* NTP, its control (6) and private (7) messages too. Sources: RFC 5905, 1305. */
#include "conversation.h"

enum { MESSAGE = 48, REFERENCE_AT = 12, SERVER = 4, BROADCAST_MODE = 5 };

/* Where numbers stand: byte, bits to the right of it, its own bits; those of a server alone mean something there alone. */
static const struct {
    enum fact fact;
    uint8_t at, shift, mask;
    bool server;
} FIELDS[] = {{FACT_ntp_version, 0, 3, 7, false}, {FACT_ntp_mode, 0, 0, 7, false}, {FACT_ntp_stratum, 1, 0, 255, true}};

static bool is_ntp(struct view v) {
    uint8_t version = read8(v, 0) >> 3 & 7;
    return v.size >= 12 && version >= 1 && version <= 4 && (v.at[0] & 7) != 0;
}

bool ntp_speaks(const struct speech *s) { return uses_port(s, 123) && is_ntp(s->payload); }

/* Strata 0 and 1 say it in letters, others give the address of their server (of IPv6 a hash of it). */
static void tell_reference(struct flow_row *row, uint8_t stratum, struct view reference) {
    struct saying words = {.size = 0};
    if (stratum > 1) say_address(&words, reference);
    else say_captured(&words, view_first(reference, find_byte(reference, 0)), "");
    fact_put(row, FACT_ntp_reference, &words);
}

bool ntp_tell(struct flow_row *row, const struct speech *s, bool last) {
    (void)last;
    struct view v = s->payload;
    if (fact_known(row, FACT_ntp_reference) || !is_ntp(v)) return false;
    uint8_t mode = v.at[0] & 7;
    bool server = v.size >= MESSAGE && (mode == SERVER || mode == BROADCAST_MODE);
    for (size_t i = 0; i < ARRAY_LENGTH(FIELDS); i++) {
        if (!FIELDS[i].server || server) fact_number(row, FIELDS[i].fact, v.at[FIELDS[i].at] >> FIELDS[i].shift & FIELDS[i].mask);
    }
    if (server) tell_reference(row, v.at[1], view_first(view_from(v, REFERENCE_AT), 4));
    return false;
}
