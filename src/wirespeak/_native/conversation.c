/* What applications say: recognises the protocol of a flow's payload, counts what is said and reads facts of it.
 *
 * Content decides first; a port only helps where a protocol has no mark of its own.
 */
#include "conversation.h"

#include <stdlib.h>

enum { ATTEMPTS = 4, HELLO_ROOM = 16384, HEADER_ROOM = 8192, FRAME_ROOM = 4096, LINE_ROOM = 1024 };

/* What is known of a protocol; conversation.h says what its functions do.
 *
 * hear: NULL where each payload or frame is one message. size: of the frames it comes in over TCP. head: bytes before the
 * message in such a frame. tells_frames: `tell` is given these rather than the stream. room: bytes gathered for it at most. */
struct drawer {
    void (*hear)(struct conversation *, struct flow_row *, const struct speech *);
    uint64_t (*size)(struct view);
    bool (*tell)(struct flow_row *, const struct speech *, bool);
    uint16_t room;
    uint8_t head;
    bool tells_frames;
};

static const struct drawer DRAWERS[APP_OTHER + 1] = {
    [APP_HTTP] = {.hear = http_hear, .tell = http_tell, .room = HEADER_ROOM},
    [APP_RTSP] = {.hear = http_hear, .tell = http_tell, .room = HEADER_ROOM},
    [APP_MQTT] = {.hear = mqtt_hear, .size = mqtt_size, .tell = mqtt_tell, .tells_frames = true, .room = FRAME_ROOM},
    [APP_MODBUS] = {.hear = modbus_hear, .size = modbus_size, .tell = modbus_tell, .tells_frames = true, .room = FRAME_ROOM},
    [APP_DNS] = {.hear = dns_hear, .size = dns_size, .tell = dns_tell, .tells_frames = true, .head = 2, .room = FRAME_ROOM},
    [APP_MDNS] = {.hear = dns_hear, .tell = dns_tell},
    [APP_TLS] = {.size = tls_size, .tell = tls_tell, .room = HELLO_ROOM},
    [APP_DTLS] = {.tell = dtls_tell},
    [APP_SSDP] = {.tell = ssdp_tell},
    [APP_DHCP] = {.tell = dhcp_tell},
    [APP_NTP] = {.tell = ntp_tell},
    [APP_COAP] = {.hear = coap_hear, .tell = coap_tell},
    [APP_DNP3] = {.tell = dnp3_tell},
    [APP_BACNET] = {.tell = bacnet_tell},
    [APP_SSH] = {.hear = ssh_hear, .tell = ssh_tell, .room = LINE_ROOM},
    [APP_TELNET] = {.tell = telnet_tell, .room = LINE_ROOM},
};

/* How each is recognised, in the order in which they are tried: MARK(what it then is, whether it speaks). */
#define TCP_MARKS(MARK)                                                                                       \
    MARK(http_is_rtsp(s) ? APP_RTSP : APP_HTTP, http_speaks)                                                  \
    MARK(APP_MQTT, mqtt_connects) MARK(APP_TLS, tls_speaks) MARK(APP_SSH, ssh_speaks) MARK(APP_DNP3, dnp3_speaks) \
    MARK(APP_STUN, stun_speaks) MARK(APP_TELNET, telnet_negotiates) MARK(APP_MODBUS, modbus_speaks)           \
    MARK(APP_MQTT, mqtt_goes_on) MARK(APP_DNS, dns_speaks_in_frames) MARK(APP_FTP, ftp_speaks)                \
    MARK(APP_SMTP, smtp_speaks) MARK(APP_SYSLOG, syslog_speaks_at_port) MARK(APP_TELNET, telnet_speaks)

#define UDP_MARKS(MARK)                                                                                       \
    MARK(APP_SSDP, ssdp_speaks) MARK(APP_STUN, stun_speaks) MARK(APP_DTLS, dtls_speaks) MARK(APP_DHCP, dhcp_speaks) \
    MARK(APP_SNMP, snmp_speaks) MARK(APP_QUIC, quic_speaks) MARK(APP_BACNET, bacnet_speaks)                   \
    MARK(APP_SYSLOG, syslog_speaks) MARK(APP_DNP3, dnp3_speaks) MARK(APP_MDNS, mdns_speaks)                   \
    MARK(APP_DNS, dns_speaks) MARK(APP_NTP, ntp_speaks) MARK(APP_COAP, coap_speaks)

#define TRY(application, speaks) \
    if (speaks(s)) return application;

static enum application recognise_tcp(const struct speech *s) {
    TCP_MARKS(TRY)
    return APP_OTHER;
}

static enum application recognise_udp(struct conversation *c, const struct speech *s) {
    UDP_MARKS(TRY)
    return rtp_goes_on(c, s->payload) ? APP_RTP : APP_OTHER;
}

static void hear(struct conversation *c, struct flow_row *row, const struct speech *s, const struct drawer *drawer) {
    if (drawer->hear) drawer->hear(c, row, s);
    else count_message(row, s);
}

/* Reads facts of what is said, with what was gathered before it; gathers it where they wait for more. */
static void listen(struct flow_row *row, const struct speech *s, const struct drawer *drawer, bool last) {
    struct speech all = *s;
    bool begun = unfinished(row, s->backward).size > 0;
    if (begun) all.payload = gather(row, s->backward, s->payload);
    last |= all.payload.size >= drawer->room;
    bool waits = drawer->tell(row, &all, last) && !last;
    if (waits && !begun) gather(row, s->backward, s->payload);
    if (!waits && begun) let_go(row, s->backward);
}

static void hear_frames(struct conversation *c, struct flow_row *row, const struct speech *s, const struct drawer *drawer) {
    uint32_t *left = &c->frame_left[s->backward];
    uint64_t at = *left;
    bool cut = s->payload.size < s->size; /* by the capture: the rest never comes */
    struct speech frame = *s;
    if (at && drawer->tells_frames && unfinished(row, s->backward).size) {
        frame.payload = view_first(s->payload, at);
        listen(row, &frame, drawer, cut || at <= s->payload.size);
    }
    while (at < s->payload.size) {
        struct view rest = view_from(s->payload, at);
        uint64_t size = drawer->size(rest);
        if (!size) break;
        frame.payload = view_from(view_first(rest, size), drawer->head);
        hear(c, row, &frame, drawer);
        if (drawer->tells_frames) listen(row, &frame, drawer, cut || size <= rest.size);
        at += size;
    }
    *left = at > s->size ? (uint32_t)(at - s->size) : 0;
}

void conversation_hear(struct conversation *c, struct flow_row *row, const struct speech *s) {
    if ((row->application == APP_NONE || row->application == APP_OTHER) && c->attempts < ATTEMPTS) {
        c->attempts++;
        row->application = (uint8_t)(s->protocol == TCP ? recognise_tcp(s) : recognise_udp(c, s));
    }
    if (row->application == APP_NONE || row->application == APP_OTHER) return;
    const struct drawer *drawer = &DRAWERS[row->application];
    bool framed = drawer->size && s->protocol == TCP;
    if (drawer->tell && !(framed && drawer->tells_frames)) listen(row, s, drawer, s->protocol != TCP || s->payload.size < s->size);
    if (framed) hear_frames(c, row, s, drawer);
    else hear(c, row, s, drawer);
}

void conversation_rest(struct flow_row *row) {
    for (uint8_t side = 0; side < 2; side++) {
        struct view said = unfinished(row, side);
        if (!said.size) continue;
        struct speech speech = {
            .payload = said, .size = (uint32_t)said.size, .src_port = side ? row->dst_port : row->src_port,
            .dst_port = side ? row->src_port : row->dst_port, .protocol = row->protocol, .backward = side,
        };
        DRAWERS[row->application].tell(row, &speech, true);
        let_go(row, side);
    }
}

bool conversation_pending(const struct conversation *c) { return c->request != NO_REQUEST; }

void conversation_end(struct conversation *c, struct flow_row *row) {
    if (conversation_pending(c)) http_end(c, row);
    free(c->text);
    c->text = NULL;
}
