/* What applications say: recognises the protocol of a flow's payload, counts what is said and reads facts of it.
 *
 * Content decides first; a port only helps where a protocol has no mark of its own.
 */
#include "conversation.h"

#include <stdlib.h>

enum { ATTEMPTS = 4, HELLO_ROOM = 16384, HEADER_ROOM = 8192, FRAME_ROOM = 4096, LINE_ROOM = 1024, VOICE_ROOM = 64 };

/* What one side said of a message that was cut between segments: too little to tell how long it is, or, of one that goes on,
 * how it begins. */
struct voice {
    uint8_t bytes[VOICE_ROOM], size;
};

/* What is known of a protocol; conversation.h says what its functions do.
 *
 * hear: NULL where each payload or frame is one message. size: of the frames it comes in over TCP. head: bytes before the
 * message in such a frame. tells_frames: `tell` is given these rather than the stream. least: bytes that tell a frame's size, where
 * `is_short` does not know better. room: bytes gathered for it at most. */
struct drawer {
    void (*hear)(struct conversation *, struct flow_row *, const struct speech *);
    void (*weigh)(struct flow_row *, struct view, int);
    uint64_t (*size)(struct view);
    bool (*is_short)(struct view);
    bool (*tell)(struct flow_row *, const struct speech *, bool);
    uint16_t room;
    uint8_t head, least;
    bool tells_frames;
};

static const struct drawer DRAWERS[APP_OTHER + 1] = {
    [APP_HTTP] = {.hear = http_hear, .tell = http_tell, .room = HEADER_ROOM},
    [APP_RTSP] = {.hear = http_hear, .tell = http_tell, .room = HEADER_ROOM},
    [APP_MQTT] = {.hear = mqtt_hear, .weigh = mqtt_weigh, .size = mqtt_size, .is_short = mqtt_is_short, .tell = mqtt_tell, .tells_frames = true, .room = FRAME_ROOM},
    [APP_MODBUS] = {.hear = modbus_hear, .size = modbus_size, .least = 8, .tell = modbus_tell, .tells_frames = true, .room = FRAME_ROOM},
    [APP_DNS] = {.hear = dns_hear, .size = dns_size, .tell = dns_tell, .tells_frames = true, .head = 2, .least = 14, .room = FRAME_ROOM},
    [APP_MDNS] = {.hear = dns_hear, .tell = dns_tell},
    [APP_TLS] = {.size = tls_size, .least = 5, .tell = tls_tell, .room = HELLO_ROOM},
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

static bool is_short(const struct drawer *drawer, struct view v) {
    return drawer->is_short ? drawer->is_short(v) : v.size > 0 && v.size < drawer->least;
}

/* Keeps what there is room for; without memory it is not heard together. */
static void keep(struct conversation *c, uint8_t side, struct view bytes) {
    if (!c->voices) c->voices = calloc(2, sizeof *c->voices);
    if (!c->voices) return;
    struct voice *voice = &c->voices[side];
    size_t size = bytes.size < (size_t)VOICE_ROOM - voice->size ? bytes.size : (size_t)VOICE_ROOM - voice->size;
    memcpy(voice->bytes + voice->size, bytes.at, size);
    voice->size = (uint8_t)(voice->size + size);
}

static struct view kept(const struct conversation *c, uint8_t side) {
    return c->voices ? (struct view){c->voices[side].bytes, c->voices[side].size} : (struct view){0};
}

/* What of an open message is only now here. */
static void weigh_more(struct conversation *c, struct flow_row *row, const struct speech *s, const struct drawer *drawer) {
    uint64_t left = c->frame_left[s->backward];
    if (!kept(c, s->backward).size) return;
    drawer->weigh(row, kept(c, s->backward), -1);
    keep(c, s->backward, view_first(s->payload, left));
    drawer->weigh(row, kept(c, s->backward), +1);
    if (left <= s->size) c->voices[s->backward].size = 0;
}

/* The payload behind what was kept of a message that begins in another segment, if that makes sense of it; NULL where it does not. */
static uint8_t *joined(struct conversation *c, const struct speech *s, const struct drawer *drawer) {
    struct view before = kept(c, s->backward);
    if (!before.size || !s->payload.size) return NULL;
    struct view both = {NULL, before.size + s->payload.size};
    uint8_t *bytes = malloc(both.size);
    if (!bytes) return NULL;
    memcpy(bytes, before.at, before.size);
    memcpy(bytes + before.size, s->payload.at, s->payload.size);
    both.at = bytes;
    if (drawer->size(both) || is_short(drawer, both)) return bytes;
    free(bytes);
    return NULL;
}

static void hear_frames(struct conversation *c, struct flow_row *row, const struct speech *s, const struct drawer *drawer) {
    uint8_t side = s->backward;
    uint32_t *left = &c->frame_left[side];
    uint64_t at = *left, wire = s->size;
    bool cut = s->payload.size < s->size; /* by the capture: the rest never comes */
    struct view all = s->payload;
    struct speech frame = *s;
    uint8_t *bytes = NULL;
    if (at && drawer->tells_frames && unfinished(row, side).size) {
        frame.payload = view_first(all, at);
        listen(row, &frame, drawer, cut || at <= all.size);
    }
    if (at && drawer->weigh) weigh_more(c, row, s, drawer);
    if (!at && (bytes = joined(c, s, drawer))) {
        wire += kept(c, side).size;
        all = (struct view){bytes, all.size + kept(c, side).size};
    }
    if (!at && c->voices) c->voices[side].size = 0;
    while (at < all.size) {
        struct view rest = view_from(all, at);
        uint64_t size = drawer->size(rest);
        if (!size) break;
        frame.payload = view_from(view_first(rest, size), drawer->head);
        hear(c, row, &frame, drawer);
        if (drawer->tells_frames) listen(row, &frame, drawer, cut || size <= rest.size);
        if (size > rest.size && drawer->weigh) keep(c, side, rest);
        at += size;
    }
    *left = at > wire ? (uint32_t)(at - wire) : 0;
    if (!*left && c->voices) c->voices[side].size = 0;
    if (!cut && at < all.size && is_short(drawer, view_from(all, at))) keep(c, side, view_from(all, at));
    free(bytes);
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

void conversation_free(struct conversation *c) {
    free(c->text);
    free(c->voices);
    c->text = NULL;
    c->voices = NULL;
}

void conversation_end(struct conversation *c, struct flow_row *row) {
    if (conversation_pending(c)) http_end(c, row);
    conversation_free(c);
}
