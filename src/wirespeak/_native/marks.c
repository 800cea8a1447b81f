/* Protocols that are recognised and counted, no more. Sources: RFC 8489, 3416, 9000, 5424, 3550, 959, 5321. */
#include "conversation.h"

bool stun_speaks(const struct speech *s) {
    struct view v = s->payload;
    return v.size >= 20 && v.at[0] >> 6 == 0 && read32(v, 4) == 0x2112A442;
}

bool snmp_speaks(const struct speech *s) {
    struct view v = s->payload;
    size_t head = read8(v, 1) < 128 ? 2 : 2u + (read8(v, 1) & 127u);
    return read8(v, 0) == 0x30 && read8(v, head) == 2 && read8(v, head + 1) == 1 && v.size > head + 2 && read8(v, head + 2) <= 3;
}

bool quic_speaks(const struct speech *s) {
    struct view v = s->payload;
    uint32_t version = read32(v, 1);
    return v.size >= 7 && v.at[0] >> 6 == 3 && (version == 1 || version == 0x6B3343CF || version >> 8 == 0xFF0000);
}

bool syslog_speaks(const struct speech *s) {
    size_t digits = 0;
    while (digits < 3 && is_digit(read8(s->payload, 1 + digits))) digits++;
    return read8(s->payload, 0) == '<' && digits > 0 && read8(s->payload, 1 + digits) == '>';
}

bool syslog_speaks_at_port(const struct speech *s) { return uses_port(s, 514) && syslog_speaks(s); }

static bool begins_with_word(struct view v) { return is_word(read8(v, 0)) && is_word(read8(v, 1)) && is_word(read8(v, 2)); }

bool ftp_speaks(const struct speech *s) { return uses_port(s, 21) && begins_with_word(s->payload); }

bool smtp_speaks(const struct speech *s) { return (uses_port(s, 25) || uses_port(s, 587)) && begins_with_word(s->payload); }

/* RTP has no mark: two packets of one source in sequence are believed. */
bool rtp_goes_on(struct conversation *c, struct view v) {
    if (v.size < 12 || v.at[0] >> 6 != 2) return false;
    uint8_t type = v.at[1] & 127;
    if (type > 34 && type < 96) return false;
    uint32_t source = read32(v, 8), sequence = read16(v, 2);
    bool next = c->rtp_heard && c->rtp_source == source && sequence == ((c->rtp_sequence + 1) & 0xFFFF);
    c->rtp_heard = true;
    c->rtp_source = source;
    c->rtp_sequence = sequence;
    return next;
}
