/* What applications say: recognises the protocol of a flow's payload and counts typed facts of it.
 *
 * Content decides first; a port only helps where a protocol has no mark of its own. Sources: MQTT 3.1.1 and 5.0
 * (OASIS), RFC 1035, 7252, 8446, 9147, 8489, 5905, 2131, 3416, 5424, 9000, 3550, 854; Modbus Messaging on
 * TCP/IP 1.0b; IEEE 1815; ASHRAE 135.
 */
#include "conversation.h"

#include <stdlib.h>

enum { ATTEMPTS = 4 };

static bool uses_port(const struct speech *s, uint16_t port) { return s->src_port == port || s->dst_port == port; }

/* ---- length-framed protocols ---------------------------------------------------------------------------- */

/* Size of an MQTT fixed header and of the rest of the packet, or 0 when this is none. */
static size_t mqtt_header(struct view v, uint64_t *rest) {
    uint8_t type = read8(v, 0) >> 4, flags = read8(v, 0) & 15;
    bool reserved = type == 6 || type == 8 || type == 10 ? flags != 2 : type != 3 && flags != 0;
    if (type == 0 || reserved) return 0;
    *rest = 0;
    for (size_t i = 1; i <= 4 && i < v.size; i++) {
        *rest |= (uint64_t)(v.at[i] & 127) << 7 * (i - 1);
        if (!(v.at[i] & 128)) return i + 1;
    }
    return 0;
}

static bool is_mqtt_connect(struct view v) {
    uint64_t rest;
    size_t head = mqtt_header(v, &rest);
    if (!head || v.at[0] != 0x10) return false;
    struct view body = view_from(v, head + 2);
    return (read16(v, head) == 4 && starts_with(body, "MQTT")) || (read16(v, head) == 6 && starts_with(body, "MQIsdp"));
}

static bool is_tls_record(struct view v) {
    uint16_t size = read16(v, 3);
    return v.size >= 5 && v.at[0] >= 20 && v.at[0] <= 24 && v.at[1] == 3 && v.at[2] <= 4 && size > 0 && size <= 16640;
}

static bool is_modbus(struct view v) {
    uint16_t size = read16(v, 4);
    return v.size >= 8 && read16(v, 2) == 0 && size >= 2 && size <= 254 && read8(v, 7) != 0;
}

/* The bytes that the message beginning here takes, or 0 when none begins here. */
static uint64_t frame_size(enum application application, struct view v) {
    uint64_t rest;
    size_t head;
    switch (application) {
        case APP_MQTT: head = mqtt_header(v, &rest); return head ? head + rest : 0;
        case APP_TLS: return is_tls_record(v) ? 5u + read16(v, 3) : 0;
        case APP_MODBUS: return is_modbus(v) ? 6u + read16(v, 4) : 0;
        case APP_DNS: return v.size >= 14 ? 2u + read16(v, 0) : 0; /* over TCP */
        default: return 0;
    }
}

static void hear_dns(struct flow_row *row, struct view v) {
    row->errors += (read8(v, 2) & 0x80) && (read8(v, 3) & 15);
}

static void hear_mqtt(struct flow_row *row, struct view v) {
    uint64_t rest;
    size_t head = mqtt_header(v, &rest);
    uint8_t type = read8(v, 0) >> 4, code = read8(v, head + 1);
    if (type == 1) row->logins += read8(v, head + 3 + read16(v, head)) >> 6 & 1; /* the password flag */
    if (type != 2) return;
    row->errors += code != 0;
    row->refusals += code == 4 || code == 5 || code == 134 || code == 135;
}

static void hear_frame(struct flow_row *row, struct view frame) {
    switch (row->application) {
        case APP_MQTT: hear_mqtt(row, frame); break;
        case APP_MODBUS: row->errors += read8(frame, 7) >> 7; break;
        case APP_DNS: hear_dns(row, view_from(frame, 2)); break;
        default: break;
    }
}

static void hear_frames(struct conversation *c, struct flow_row *row, const struct speech *s) {
    uint32_t *left = &c->frame_left[s->backward];
    uint64_t at = *left;
    while (at < s->payload.size) {
        struct view rest = view_from(s->payload, at);
        uint64_t size = frame_size(row->application, rest);
        if (!size) break;
        count_message(row, s);
        hear_frame(row, view_first(rest, size));
        at += size;
    }
    *left = at > s->size ? (uint32_t)(at - s->size) : 0;
}

/* ---- datagrams ------------------------------------------------------------------------------------------ */

static void hear_coap(struct flow_row *row, const struct speech *s) {
    uint8_t code = read8(s->payload, 1);
    if (code == 0) return; /* an empty message only acknowledges */
    count_message(row, s);
    row->errors += code >> 5 == 4 || code >> 5 == 5;
}

static bool is_dns(struct view v) {
    uint16_t flags = read16(v, 2);
    return v.size >= 12 && (flags & 0x0040) == 0 && read16(v, 4) <= 64 && read16(v, 6) <= 512;
}

static bool is_coap(struct view v) {
    uint8_t kind = read8(v, 1) >> 5;
    return v.size >= 4 && v.at[0] >> 6 == 1 && (v.at[0] & 15) <= 8 && (kind == 0 || kind == 2 || kind == 4 || kind == 5 || kind == 7);
}

static bool is_snmp(struct view v) {
    size_t head = read8(v, 1) < 128 ? 2 : 2u + (read8(v, 1) & 3u);
    return read8(v, 0) == 0x30 && read8(v, head) == 2 && read8(v, head + 1) == 1 && v.size > head + 2 && read8(v, head + 2) <= 3;
}

static bool is_dhcp(struct view v) {
    return v.size >= 240 && (v.at[0] == 1 || v.at[0] == 2) && read32(v, 236) == 0x63825363;
}

static bool is_syslog(struct view v) {
    size_t digits = 0;
    while (digits < 3 && is_digit(read8(v, 1 + digits))) digits++;
    return read8(v, 0) == '<' && digits > 0 && read8(v, 1 + digits) == '>';
}

static bool is_quic(struct view v) {
    uint32_t version = read32(v, 1);
    return v.size >= 7 && v.at[0] >> 6 == 3 && (version == 1 || version == 0x6B3343CF || version >> 8 == 0xFF0000);
}

static bool is_stun(struct view v) {
    return v.size >= 20 && v.at[0] >> 6 == 0 && read32(v, 4) == 0x2112A442;
}

static bool is_dtls(struct view v) {
    uint16_t version = read16(v, 1);
    return v.size >= 13 && v.at[0] >= 20 && v.at[0] <= 25 && (version == 0xFEFF || version == 0xFEFD) && read16(v, 11) <= 16640;
}

static bool is_bacnet(struct view v) { return v.size >= 6 && v.at[0] == 0x81 && v.at[1] <= 0x0C && read16(v, 2) == v.size; }

static bool is_ntp(struct view v) {
    uint8_t version = read8(v, 0) >> 3 & 7;
    return v.size >= 12 && version >= 1 && version <= 4 && (v.at[0] & 7) != 0;
}

/* RTP has no mark: two packets of one source in sequence are believed. */
static bool is_rtp(struct conversation *c, struct view v) {
    if (v.size < 12 || v.at[0] >> 6 != 2) return false;
    uint8_t type = v.at[1] & 127;
    if (type > 34 && type < 96) return false;
    uint32_t source = read32(v, 8), sequence = read16(v, 2);
    bool next = c->rtp_source == source && sequence == ((c->rtp_sequence + 1) & 0xFFFF);
    c->rtp_source = source;
    c->rtp_sequence = sequence;
    return next;
}

/* ---- recognition ---------------------------------------------------------------------------------------- */

static enum application recognise_tcp(const struct speech *s) {
    struct view v = s->payload;
    uint64_t rest;
    if (http_speaks(v)) return http_is_rtsp(v) ? APP_RTSP : APP_HTTP;
    if (is_mqtt_connect(v)) return APP_MQTT;
    if (is_tls_record(v)) return APP_TLS;
    if (starts_with(v, "SSH-")) return APP_SSH;
    if (read16(v, 0) == 0x0564 && v.size >= 10) return APP_DNP3;
    if (is_stun(v)) return APP_STUN;
    if (read8(v, 0) == 255 && read8(v, 1) >= 250 && read8(v, 1) < 255) return APP_TELNET;
    uint8_t function = read8(v, 7) & 127;
    bool whole_and_public = 6u + read16(v, 4) == s->size && (function <= 24 || function == 43);
    if (is_modbus(v) && (whole_and_public || uses_port(s, 502))) return APP_MODBUS;
    if ((uses_port(s, 1883) || uses_port(s, 1884)) && mqtt_header(v, &rest)) return APP_MQTT;
    if (uses_port(s, 53) && v.size >= 14 && is_dns(view_from(v, 2))) return APP_DNS;
    bool line = is_word(read8(v, 0)) && is_word(read8(v, 1)) && is_word(read8(v, 2));
    if (uses_port(s, 21) && line) return APP_FTP;
    if ((uses_port(s, 25) || uses_port(s, 587)) && line) return APP_SMTP;
    if (uses_port(s, 514) && is_syslog(v)) return APP_SYSLOG;
    return uses_port(s, 23) || uses_port(s, 2323) ? APP_TELNET : APP_OTHER;
}

static enum application recognise_udp(struct conversation *c, const struct speech *s) {
    struct view v = s->payload;
    if (starts_with(v, "M-SEARCH *") || starts_with(v, "NOTIFY *") || starts_with(v, "HTTP/1.1 200")) return APP_SSDP;
    if (is_stun(v)) return APP_STUN;
    if (is_dtls(v)) return APP_DTLS;
    if (is_dhcp(v) || uses_port(s, 547)) return APP_DHCP;
    if (is_snmp(v)) return APP_SNMP;
    if (is_quic(v)) return APP_QUIC;
    if (is_bacnet(v)) return APP_BACNET;
    if (is_syslog(v)) return APP_SYSLOG;
    if (read16(v, 0) == 0x0564 && v.size >= 10) return APP_DNP3;
    if (uses_port(s, 5353) && is_dns(v)) return APP_MDNS;
    if ((uses_port(s, 53) || uses_port(s, 5355)) && is_dns(v)) return APP_DNS;
    if (uses_port(s, 123) && is_ntp(v)) return APP_NTP;
    if (uses_port(s, 5683) && is_coap(v)) return APP_COAP;
    return is_rtp(c, v) ? APP_RTP : APP_OTHER;
}

void conversation_hear(struct conversation *c, struct flow_row *row, const struct speech *s) {
    if ((row->application == APP_NONE || row->application == APP_OTHER) && c->attempts < ATTEMPTS) {
        c->attempts++;
        row->application = (uint8_t)(s->protocol == TCP ? recognise_tcp(s) : recognise_udp(c, s));
    }
    switch (row->application) {
        case APP_NONE: case APP_OTHER: return;
        case APP_HTTP: case APP_RTSP: http_hear(c, row, s); return;
        case APP_MQTT: case APP_TLS: case APP_MODBUS: hear_frames(c, row, s); return;
        case APP_COAP: hear_coap(row, s); return;
        case APP_SSH: if (!starts_with(s->payload, "SSH-")) return; break;
        case APP_MDNS: hear_dns(row, s->payload); break;
        case APP_DNS:
            if (s->protocol == TCP) {
                hear_frames(c, row, s);
                return;
            }
            hear_dns(row, s->payload);
            break;
        default: break;
    }
    count_message(row, s);
}

bool conversation_pending(const struct conversation *c) { return c->request != NO_REQUEST; }

void conversation_end(struct conversation *c, struct flow_row *row) {
    if (conversation_pending(c)) http_end(c, row);
    free(c->text);
    c->text = NULL;
}
