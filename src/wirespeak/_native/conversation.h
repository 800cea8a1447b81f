/* What the files that hear conversations share. Each protocol is one of them; conversation.c lists them all. */
#ifndef WIRESPEAK_CONVERSATION_H
#define WIRESPEAK_CONVERSATION_H

#include "facts.h"

enum { TEXT_ROOM = 2048 }; /* bytes of a target, and of a body, that are looked at */
enum request_part { NO_REQUEST, IN_TARGET, AT_VERSION, IN_VERSION, IN_HEADER, IN_BODY, IN_CHUNKS };

static inline uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }
static inline bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static inline bool is_word(uint8_t c) { return is_digit(c) || c == '_' || (lower(c) >= 'a' && lower(c) <= 'z'); }

static inline size_t find_byte(struct view v, uint8_t byte) {
    const uint8_t *found = v.size ? memchr(v.at, byte, v.size) : NULL;
    return found ? (size_t)(found - v.at) : v.size;
}

/* The first bytes of `rest`, which then begins behind them. */
static inline struct view take(struct view *rest, size_t size) {
    struct view taken = view_first(*rest, size);
    *rest = view_from(*rest, size);
    return taken;
}

static inline uint8_t take8(struct view *rest) { return read8(take(rest, 1), 0); }
static inline uint16_t take16(struct view *rest) { return read16(take(rest, 2), 0); }

static inline bool uses_port(const struct speech *s, uint16_t port) { return s->src_port == port || s->dst_port == port; }

/* Whether the client of a service at this port says it: who opened the connection, else who speaks to that port, else the
 * flow's source. */
static inline bool from_client(const struct flow_row *row, const struct speech *s, uint16_t port) {
    bool opened = (row->tcp_flags & (SYN | ACK)) == SYN, told = (s->dst_port == port) != (s->src_port == port);
    return told && !opened ? s->dst_port == port : !s->backward;
}

static inline void count_message(struct flow_row *row, const struct speech *s) {
    if (s->backward) row->answers++;
    else row->messages++;
}

/* Counts the signs and words of a request text (text.c); whether its body names a password field. */
bool text_count(struct flow_row *row, struct view target, struct view body);

/* A header line that is a fact; its name is in lower case and ends in a colon. */
struct header_fact {
    enum fact fact;
    const char *name;
};
void tell_headers(struct flow_row *row, struct view lines, const struct header_fact *facts, size_t count); /* http.c */

/* What a protocol's file offers.
 *
 * NAME_speaks: whether a payload is recognised as this protocol. NAME_hear: counts what is said. NAME_tell: reads facts of
 * what is said; true when it waits for more of it, which `last` says will not come. NAME_size: the bytes that the message
 * beginning here takes, or 0 when none begins here. NAME_weigh: counts, times a sign, what a message means by what it holds,
 * as far as it is here. NAME_is_short: whether more bytes would tell how long the message beginning here is. */
#define SPEAKS(name) bool name(const struct speech *speech);
#define HEAR(name) void name(struct conversation *conversation, struct flow_row *row, const struct speech *speech);
#define TELL(name) bool name(struct flow_row *row, const struct speech *speech, bool last);
#define SIZE(name) uint64_t name(struct view view);
#define WEIGH(name) void name(struct flow_row *row, struct view message, int sign);
#define IS_SHORT(name) bool name(struct view view);

SPEAKS(http_speaks) SPEAKS(http_is_rtsp) HEAR(http_hear) TELL(http_tell)
void http_end(struct conversation *conversation, struct flow_row *row); /* the request in progress ends here */

SPEAKS(mqtt_connects) SPEAKS(mqtt_goes_on) HEAR(mqtt_hear) WEIGH(mqtt_weigh) TELL(mqtt_tell) SIZE(mqtt_size) IS_SHORT(mqtt_is_short)
SPEAKS(tls_speaks) TELL(tls_tell) SIZE(tls_size) SPEAKS(dtls_speaks) TELL(dtls_tell)
SPEAKS(modbus_speaks) HEAR(modbus_hear) TELL(modbus_tell) SIZE(modbus_size)
SPEAKS(dns_speaks) SPEAKS(mdns_speaks) SPEAKS(dns_speaks_in_frames) HEAR(dns_hear) TELL(dns_tell) SIZE(dns_size)
SPEAKS(coap_speaks) HEAR(coap_hear) TELL(coap_tell)
SPEAKS(ssdp_speaks) TELL(ssdp_tell)
SPEAKS(dhcp_speaks) TELL(dhcp_tell)
SPEAKS(ntp_speaks) TELL(ntp_tell)
SPEAKS(dnp3_speaks) TELL(dnp3_tell)
SPEAKS(bacnet_speaks) TELL(bacnet_tell)
SPEAKS(ssh_speaks) HEAR(ssh_hear) TELL(ssh_tell)
SPEAKS(telnet_negotiates) SPEAKS(telnet_speaks) TELL(telnet_tell)

/* Protocols that are recognised and counted, no more (marks.c). */
SPEAKS(stun_speaks) SPEAKS(snmp_speaks) SPEAKS(quic_speaks) SPEAKS(syslog_speaks) SPEAKS(syslog_speaks_at_port)
SPEAKS(ftp_speaks) SPEAKS(smtp_speaks)
bool rtp_goes_on(struct conversation *conversation, struct view payload);

#endif
