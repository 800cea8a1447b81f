/* What applications say: recognises the protocol of a flow's payload and counts typed facts of it.
 *
 * Content decides first; a port only helps where a protocol has no mark of its own. Text is counted, never
 * interpreted. Sources: RFC 9112 (HTTP/1.1), 7826 (RTSP), MQTT 3.1.1 and 5.0 (OASIS), RFC 1035, 7252, 8446,
 * 9147, 8489, 5905, 2131, 3416, 5424, 9000, 3550, 854; Modbus Messaging on TCP/IP 1.0b; IEEE 1815; ASHRAE 135.
 */
#include "native.h"

#include <math.h>
#include <stdlib.h>

enum { TEXT_ROOM = 2048, ATTEMPTS = 4 };
enum request_part { NO_REQUEST, IN_HEADER, IN_BODY, IN_CHUNKS };

static void count_message(struct flow_row *row, const struct speech *s) {
    if (s->backward) row->answers++;
    else row->messages++;
}

static bool uses_port(const struct speech *s, uint16_t port) { return s->src_port == port || s->dst_port == port; }

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }
static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static bool is_word(uint8_t c) { return is_digit(c) || c == '_' || (lower(c) >= 'a' && lower(c) <= 'z'); }

/* ---- the text of a request ------------------------------------------------------------------------------ */

static const char *const SQL_WORDS[] = {"select", "union", "insert", "update", "delete", "drop", "from", "where", "or",
                                        "and", "sleep", "benchmark", "order", "having", "like", "exec"};
static const char *const SCRIPT_WORDS[] = {"script", "onerror", "onload", "onclick", "onmouseover", "alert", "eval",
                                           "javascript", "document", "cookie", "iframe", "svg", "img"};
static const char *const PASSWORD_WORDS[] = {"password", "passwd", "passwort", "pwd", "pass", "passphrase"};

struct text_counts {
    uint32_t bytes, histogram[256];
    uint32_t sql_signs, sql_words, markup_signs, script_words, passwords;
    bool quoted; /* a quote or a comment occurs */
};

static bool among(const char *const *words, size_t count, const char *word) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(words[i], word) == 0) return true;
    }
    return false;
}

static int hex_digit(uint8_t c) { return is_digit(c) ? c - '0' : lower(c) >= 'a' && lower(c) <= 'f' ? lower(c) - 'a' + 10 : -1; }

/* One pass of percent-decoding, + as space; returns the size. */
static size_t percent_decode(struct view raw, uint8_t *out) {
    size_t size = 0;
    for (size_t i = 0; i < raw.size; i++) {
        uint8_t c = raw.at[i];
        if (c == '%' && i + 2 < raw.size && hex_digit(raw.at[i + 1]) >= 0 && hex_digit(raw.at[i + 2]) >= 0) {
            c = (uint8_t)(hex_digit(raw.at[i + 1]) << 4 | hex_digit(raw.at[i + 2]));
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        out[size++] = c;
    }
    return size;
}

static void count_word(struct text_counts *counts, struct view text, size_t begin, size_t end) {
    char word[16] = {0};
    if (end - begin >= sizeof word) return;
    for (size_t i = begin; i < end; i++) word[i - begin] = (char)lower(text.at[i]);
    counts->sql_words += among(SQL_WORDS, ARRAY_LENGTH(SQL_WORDS), word);
    counts->script_words += among(SCRIPT_WORDS, ARRAY_LENGTH(SCRIPT_WORDS), word);
    uint8_t after = read8(text, end);
    bool names_field = after == '=' || after == ':' || after == '"' || after == '\'';
    counts->passwords += names_field && among(PASSWORD_WORDS, ARRAY_LENGTH(PASSWORD_WORDS), word);
}

static void count_piece(struct text_counts *counts, struct view raw) {
    uint8_t decoded[TEXT_ROOM];
    struct view text = {decoded, percent_decode(view_first(raw, TEXT_ROOM), decoded)};
    counts->bytes += (uint32_t)text.size;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.at[i], next = read8(text, i + 1);
        bool pair = (c == '-' && next == '-') || (c == '/' && next == '*');
        counts->histogram[c]++;
        counts->quoted |= c == '\'' || c == '"' || c == '#' || pair;
        counts->sql_signs += pair || c == '\'' || c == '"' || c == ';' || c == '#' || c == '=' || c == '(' || c == ')';
        counts->markup_signs += c == '<' || c == '>';
        if (pair) counts->histogram[next]++, i++;
    }
    for (size_t begin = 0; begin < text.size;) {
        size_t end = begin;
        while (end < text.size && is_word(text.at[end])) end++;
        if (end > begin) count_word(counts, text, begin, end);
        begin = end + 1;
    }
}

static double entropy_bits(const struct text_counts *counts) {
    double bits = 0;
    for (size_t c = 0; c < ARRAY_LENGTH(counts->histogram); c++) {
        if (!counts->histogram[c]) continue;
        double share = (double)counts->histogram[c] / counts->bytes;
        bits -= share * log2(share);
    }
    return floor(bits * 10 + 0.5) / 10;
}

static void raise_to(int64_t *most, int64_t value) {
    if (value > *most) *most = value;
}

static bool count_text(struct flow_row *row, struct view target, struct view body) {
    struct text_counts counts = {0};
    count_piece(&counts, target);
    uint32_t passwords_in_target = counts.passwords;
    count_piece(&counts, body);
    if (counts.bytes > row->message_bytes) {
        row->message_bytes = counts.bytes;
        row->entropy_bits = entropy_bits(&counts);
    }
    raise_to(&row->sql_signs, counts.quoted ? counts.sql_signs : 0);
    raise_to(&row->sql_words, counts.sql_words);
    raise_to(&row->markup_signs, counts.markup_signs);
    raise_to(&row->script_words, counts.script_words);
    return counts.passwords > passwords_in_target;
}

/* ---- HTTP and RTSP -------------------------------------------------------------------------------------- */

static const char *const METHODS[] = {
    "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PROPFIND", "SUBSCRIBE", "UNSUBSCRIBE",
    "NOTIFY", "M-SEARCH", "PRI", "DESCRIBE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "ANNOUNCE", "RECORD", "GET_PARAMETER",
    "SET_PARAMETER",
};

static size_t find_byte(struct view v, uint8_t byte) {
    const uint8_t *found = v.size ? memchr(v.at, byte, v.size) : NULL;
    return found ? (size_t)(found - v.at) : v.size;
}

/* The size of the method and its space when a request begins here, else 0. */
static size_t request_method(struct view v) {
    if (read8(v, 0) < 'A' || read8(v, 0) > 'Z') return 0;
    for (size_t i = 0; i < ARRAY_LENGTH(METHODS); i++) {
        size_t size = strlen(METHODS[i]);
        if (!starts_with(v, METHODS[i]) || read8(v, size) != ' ') continue;
        uint8_t first = read8(v, size + 1);
        bool names_host = first == 'h' || first == 'r' || (METHODS[i][0] == 'C' && is_word(first));
        return first == '/' || first == '*' || names_host ? size + 1 : 0;
    }
    return 0;
}

static bool is_response(struct view v) { return starts_with(v, "HTTP/1.") || starts_with(v, "RTSP/1."); }

static bool has_word(struct view v, const char *word) {
    size_t size = strlen(word);
    for (size_t i = 0; i + size <= v.size; i++) {
        if (memcmp(v.at + i, word, size) == 0) return true;
    }
    return false;
}

/* Where the header ends and the body begins, or 0 when the empty line is not here. */
static size_t header_end(struct view v, bool at_line_start) {
    if (at_line_start && read8(v, 0) == '\n') return 1;
    if (at_line_start && read8(v, 0) == '\r' && read8(v, 1) == '\n') return 2;
    for (size_t i = 0; i < v.size;) {
        i += find_byte(view_from(v, i), '\n') + 1;
        if (read8(v, i) == '\n') return i + 1;
        if (read8(v, i) == '\r' && read8(v, i + 1) == '\n') return i + 2;
    }
    return 0;
}

static bool names_header(struct view line, const char *name) {
    size_t size = strlen(name);
    if (line.size < size) return false;
    for (size_t i = 0; i < size; i++) {
        if (lower(line.at[i]) != (uint8_t)name[i]) return false;
    }
    return true;
}

static uint64_t read_number(struct view v) {
    size_t i = 0;
    while (i < v.size && (v.at[i] == ' ' || v.at[i] == '\t')) i++;
    uint64_t number = 0;
    for (size_t digits = 0; i < v.size && is_digit(v.at[i]) && digits < 18; i++, digits++) number = number * 10 + (v.at[i] - '0');
    return number;
}

static void read_header_lines(struct conversation *c, struct view header, bool *chunked) {
    for (size_t i = 0; i < header.size;) {
        struct view rest = view_from(header, i), line = view_first(rest, find_byte(rest, '\n'));
        if (names_header(line, "content-length:")) c->body_left = read_number(view_from(line, 15));
        if (names_header(line, "transfer-encoding:")) *chunked |= has_word(line, "chunked");
        if (names_header(line, "authorization:")) c->has_credentials = 1;
        i += line.size + 1;
    }
}

static void keep_text(struct conversation *c, struct view piece, uint32_t room) {
    size_t size = piece.size < room ? piece.size : room;
    if (!size) return;
    uint8_t *text = realloc(c->text, c->text_size + size);
    if (!text) return; /* without memory the text is only shorter */
    memcpy(text + c->text_size, piece.at, size);
    c->text = text;
    c->text_size += (uint32_t)size;
}

static void keep_body(struct conversation *c, struct view body) {
    keep_text(c, body, TEXT_ROOM - (c->text_size - c->target_size));
}

static void finish_request(struct conversation *c, struct flow_row *row) {
    struct view all = {c->text, c->text_size};
    bool password = count_text(row, view_first(all, c->target_size), view_from(all, c->target_size));
    row->logins += c->has_credentials || (c->is_post && password);
    free(c->text);
    c->text = NULL;
    c->text_size = c->target_size = 0;
    c->request = NO_REQUEST;
}

static bool ends_chunks(struct view body) {
    return body.size >= 5 && memcmp(body.at + body.size - 5, "0\r\n\r\n", 5) == 0;
}

static void hear_body(struct conversation *c, struct flow_row *row, struct view body, uint64_t size) {
    keep_body(c, body);
    bool done = c->request == IN_CHUNKS ? ends_chunks(body) : c->body_left <= size;
    c->body_left -= c->body_left < size ? c->body_left : size;
    if (done) finish_request(c, row);
}

static void hear_header(struct conversation *c, struct flow_row *row, const struct speech *s, bool continued) {
    struct view v = s->payload;
    bool at_line_start = continued && c->line_ended;
    size_t end = header_end(v, at_line_start), first = at_line_start ? 0 : find_byte(v, '\n') + 1;
    bool chunked = c->request == IN_CHUNKS;
    read_header_lines(c, view_from(end ? view_first(v, end) : v, first), &chunked);
    c->line_ended = v.size && v.at[v.size - 1] == '\n';
    c->request = IN_HEADER;
    if (!end && v.size < s->size) finish_request(c, row); /* the capture cut it short, not the client */
    if (!end) return;
    c->request = chunked ? IN_CHUNKS : IN_BODY;
    hear_body(c, row, view_from(v, end), s->size - end);
}

static void begin_request(struct conversation *c, struct flow_row *row, const struct speech *s, size_t method) {
    if (c->request != NO_REQUEST) {
        finish_request(c, row);
        row->unfinished_requests++;
    }
    count_message(row, s);
    struct view rest = view_from(s->payload, method), line = view_first(rest, find_byte(rest, '\n'));
    size_t target = find_byte(line, ' ');
    if (target == line.size && target && line.at[target - 1] == '\r') target--;
    c->is_post = starts_with(s->payload, "POST") || starts_with(s->payload, "PUT") || starts_with(s->payload, "PATCH");
    c->has_credentials = 0;
    c->body_left = 0;
    c->request_side = s->backward;
    keep_text(c, view_first(line, target), TEXT_ROOM);
    c->target_size = c->text_size;
    hear_header(c, row, s, false);
}

static void hear_response(struct flow_row *row, const struct speech *s) {
    uint64_t status = read_number(view_from(s->payload, 8));
    count_message(row, s);
    row->errors += status >= 400 && status <= 599;
    row->refusals += status == 401 || status == 403;
}

static void hear_http(struct conversation *c, struct flow_row *row, const struct speech *s) {
    size_t method = request_method(s->payload);
    if (method) begin_request(c, row, s, method);
    else if (is_response(s->payload)) hear_response(row, s);
    else if (c->request == IN_HEADER && c->request_side == s->backward) hear_header(c, row, s, true);
    else if (c->request != NO_REQUEST && c->request_side == s->backward) hear_body(c, row, s->payload, s->size);
}

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
    if (request_method(v) || is_response(v)) {
        struct view line = view_first(v, find_byte(v, '\n'));
        return has_word(line, "RTSP/1.") || has_word(line, "rtsp://") ? APP_RTSP : APP_HTTP;
    }
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
        case APP_HTTP: case APP_RTSP: hear_http(c, row, s); return;
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
    if (conversation_pending(c)) finish_request(c, row);
    free(c->text);
    c->text = NULL;
}
