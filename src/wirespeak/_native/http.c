/* HTTP/1 and RTSP: requests and responses, also in pieces. Sources: RFC 9112, RFC 7826. */
#include "conversation.h"

#include <stdlib.h>

enum { LINE_ROOM = 1024 }; /* bytes of a header's line that are looked at */

#define METHOD(text) {text, sizeof(text) - 1}
static const struct {
    const char *name;
    size_t size;
} METHODS[] = {
    METHOD("GET"), METHOD("POST"), METHOD("PUT"), METHOD("HEAD"), METHOD("DELETE"), METHOD("OPTIONS"), METHOD("PATCH"), METHOD("CONNECT"),
    METHOD("TRACE"), METHOD("PROPFIND"), METHOD("SUBSCRIBE"), METHOD("UNSUBSCRIBE"), METHOD("NOTIFY"), METHOD("M-SEARCH"), METHOD("PRI"),
    METHOD("DESCRIBE"), METHOD("SETUP"), METHOD("PLAY"), METHOD("PAUSE"), METHOD("TEARDOWN"), METHOD("ANNOUNCE"), METHOD("RECORD"),
    METHOD("GET_PARAMETER"), METHOD("SET_PARAMETER"),
};

/* The size of the method and its space when a request begins here, else 0. */
static size_t request_method(struct view v) {
    if (read8(v, 0) < 'A' || read8(v, 0) > 'Z') return 0;
    for (size_t i = 0; i < ARRAY_LENGTH(METHODS); i++) {
        size_t size = METHODS[i].size;
        if (v.size <= size || v.at[0] != METHODS[i].name[0] || v.at[size] != ' ' || memcmp(v.at, METHODS[i].name, size) != 0) continue;
        uint8_t first = read8(v, size + 1);
        bool names_host = first == 'h' || first == 'r' || (METHODS[i].name[0] == 'C' && is_word(first));
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
static size_t header_end(struct view v) {
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

static void read_line(struct conversation *c, struct view line) {
    if (names_header(line, "content-length:")) c->body_left = read_number(view_from(line, 15));
    if (names_header(line, "authorization:")) c->has_credentials = 1;
    if (!names_header(line, "transfer-encoding:")) return;
    for (size_t i = 0; i < line.size; i++) c->is_chunked |= names_header(view_from(line, i), "chunked");
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

static void end_target(struct conversation *c, bool by_blank) {
    if (!by_blank && c->text_size && c->text[c->text_size - 1] == '\r') c->text_size--;
    c->target_size = c->text_size;
}

void http_end(struct conversation *c, struct flow_row *row) {
    if (c->request == IN_TARGET) end_target(c, false);
    if (c->request == IN_HEADER) {
        read_line(c, view_from((struct view){c->text, c->text_size}, c->target_size));
        c->text_size = c->target_size;
    }
    struct view all = {c->text, c->text_size};
    bool password = text_count(row, view_first(all, c->target_size), view_from(all, c->target_size));
    row->logins += c->has_credentials || (c->is_post && password);
    free(c->text);
    c->text = NULL;
    c->text_size = c->target_size = 0;
    c->request = NO_REQUEST;
}

/* Where in a chunked body this is: in a line of data, or, from where a line has been zeros alone, in what may be its last chunk. */
enum chunk_part { AT_LINE, IN_LINE, LINE_RETURN, IN_ZEROS, IN_EXTENSION, SIZE_RETURN, AT_TRAILER, IN_TRAILER, TRAILER_RETURN, END_RETURN, AT_END };

static enum chunk_part next_part(enum chunk_part part, uint8_t byte) {
    bool returns = byte == '\r', feeds = byte == '\n';
    enum chunk_part plain = returns ? LINE_RETURN : IN_LINE;
    switch (part) {
        case AT_LINE: case AT_END: return byte == '0' ? IN_ZEROS : plain;
        case LINE_RETURN: return feeds ? AT_LINE : plain;
        case IN_ZEROS: return byte == '0' ? IN_ZEROS : byte == ';' ? IN_EXTENSION : returns ? SIZE_RETURN : plain;
        case IN_EXTENSION: return returns ? SIZE_RETURN : feeds ? plain : IN_EXTENSION;
        case SIZE_RETURN: case TRAILER_RETURN: return feeds ? AT_TRAILER : plain;
        case AT_TRAILER: return returns ? END_RETURN : feeds ? plain : IN_TRAILER;
        case IN_TRAILER: return returns ? TRAILER_RETURN : feeds ? plain : IN_TRAILER;
        case END_RETURN: return feeds ? AT_END : plain;
        default: return plain;
    }
}

/* Whether the last chunk and its trailer end where this segment ends (RFC 9112, section 7.1). */
static bool ends_chunks(struct conversation *c, struct view body) {
    enum chunk_part part = (enum chunk_part)c->chunk_part;
    for (size_t i = 0; i < body.size; i++) part = next_part(part, body.at[i]);
    c->chunk_part = (uint8_t)part;
    return part == AT_END;
}

static void hear_body(struct conversation *c, struct flow_row *row, struct view body, uint64_t size) {
    keep_body(c, body);
    bool done = c->request == IN_CHUNKS ? ends_chunks(c, body) : c->body_left <= size;
    c->body_left -= c->body_left < size ? c->body_left : size;
    if (done) http_end(c, row);
}

/* Takes what is here of the target, which a blank or its line ends. */
static void take_target(struct conversation *c, struct view *rest) {
    size_t size = 0;
    while (size < rest->size && rest->at[size] != ' ' && rest->at[size] != '\n') size++;
    bool ended = size < rest->size, by_blank = ended && rest->at[size] == ' ';
    keep_text(c, take(rest, size), TEXT_ROOM - c->text_size);
    if (!ended) return;
    take8(rest);
    end_target(c, by_blank);
    c->request = by_blank ? AT_VERSION : IN_HEADER;
}

/* Takes a line of the header, or what is here of it; whether it was the empty one. */
static bool take_line(struct conversation *c, struct view *rest) {
    size_t size = find_byte(*rest, '\n');
    bool ended = size < rest->size;
    struct view line = take(rest, size);
    if (!ended || c->text_size > c->target_size) {
        keep_text(c, line, LINE_ROOM - (c->text_size - c->target_size));
        line = view_from((struct view){c->text, c->text_size}, c->target_size);
    }
    if (!ended) return false;
    take8(rest);
    bool empty = line.size == 0 || (line.size == 1 && line.at[0] == '\r');
    read_line(c, line);
    c->text_size = c->target_size;
    return empty;
}

/* Goes on with a request's header, of which `rest` is the end of the payload. */
static void hear_header(struct conversation *c, struct flow_row *row, const struct speech *s, struct view rest) {
    while (rest.size) {
        if (c->request == IN_TARGET) {
            take_target(c, &rest);
        } else if (c->request == AT_VERSION || c->request == IN_VERSION) {
            bool ended = find_byte(rest, '\n') < rest.size;
            take(&rest, find_byte(rest, '\n') + 1);
            c->request = ended ? IN_HEADER : IN_VERSION;
        } else if (take_line(c, &rest)) {
            c->request = c->is_chunked ? IN_CHUNKS : IN_BODY;
            c->chunk_part = AT_LINE;
            hear_body(c, row, rest, s->size - (s->payload.size - rest.size));
            return;
        }
    }
    if (s->payload.size < s->size) http_end(c, row); /* the capture cut it short, not the client */
}

static void begin_request(struct conversation *c, struct flow_row *row, const struct speech *s, size_t method) {
    if (c->request != NO_REQUEST) {
        http_end(c, row);
        row->unfinished_requests++;
    }
    count_message(row, s);
    c->is_post = starts_with(s->payload, "POST") || starts_with(s->payload, "PUT") || starts_with(s->payload, "PATCH");
    c->has_credentials = c->is_chunked = 0;
    c->body_left = 0;
    c->request_side = s->backward;
    c->request = IN_TARGET;
    hear_header(c, row, s, view_from(s->payload, method));
}

static void hear_response(struct flow_row *row, const struct speech *s) {
    uint64_t status = read_number(view_from(s->payload, 8));
    count_message(row, s);
    row->errors += status >= 400 && status <= 599;
    row->refusals += status == 401 || status == 403;
}

void http_hear(struct conversation *c, struct flow_row *row, const struct speech *s) {
    size_t method = request_method(s->payload);
    bool goes_on = c->request != NO_REQUEST && c->request_side == s->backward;
    if (method) begin_request(c, row, s, method);
    else if (is_response(s->payload) && !(goes_on && c->request == AT_VERSION)) hear_response(row, s);
    else if (goes_on && (c->request == IN_BODY || c->request == IN_CHUNKS)) hear_body(c, row, s->payload, s->size);
    else if (goes_on) hear_header(c, row, s, s->payload);
}

bool http_speaks(const struct speech *s) { return request_method(s->payload) || is_response(s->payload); }

bool http_is_rtsp(const struct speech *s) {
    struct view line = view_first(s->payload, find_byte(s->payload, '\n'));
    return has_word(line, "RTSP/1.") || has_word(line, "rtsp://");
}

/* ---- facts ---------------------------------------------------------------------------------------------- */

static const struct header_fact ASKED[] = {{FACT_http_host, "host:"}, {FACT_http_user_agent, "user-agent:"}};
static const struct header_fact ANSWERED[] = {{FACT_http_content_type, "content-type:"}, {FACT_http_server, "server:"}};

static struct view trimmed(struct view v) {
    while (v.size && (v.at[0] == ' ' || v.at[0] == '\t')) v = view_from(v, 1);
    while (v.size && (v.at[v.size - 1] == ' ' || v.at[v.size - 1] == '\t' || v.at[v.size - 1] == '\r')) v.size--;
    return v;
}

void tell_headers(struct flow_row *row, struct view lines, const struct header_fact *facts, size_t count) {
    while (lines.size) {
        struct view line = take(&lines, find_byte(lines, '\n') + 1);
        if (line.at[line.size - 1] == '\n') line.size--;
        for (size_t i = 0; i < count; i++) {
            if (names_header(line, facts[i].name)) fact_captured(row, facts[i].fact, trimmed(view_from(line, strlen(facts[i].name))));
        }
    }
}

static void tell_request(struct flow_row *row, struct view line, size_t method) {
    fact_captured(row, FACT_http_method, view_first(line, method - 1));
    struct view target = view_from(line, method);
    fact_captured(row, FACT_http_uri, trimmed(view_first(target, find_byte(target, ' '))));
}

static void tell_status(struct flow_row *row, struct view line) {
    uint64_t status = read_number(view_from(line, 8));
    if (status >= 100 && status <= 999) fact_number(row, FACT_http_status, status);
}

bool http_tell(struct flow_row *row, const struct speech *s, bool last) {
    bool asked = fact_known(row, FACT_http_method), answered = fact_known(row, FACT_http_status);
    if (asked && answered) return false;
    size_t method = asked ? 0 : request_method(s->payload);
    bool response = !method && !answered && is_response(s->payload);
    if (!method && !response) return false;
    size_t end = header_end(s->payload);
    if (!end && !last) return true;
    struct view header = end ? view_first(s->payload, end) : s->payload, line = take(&header, find_byte(header, '\n') + 1);
    if (line.at[line.size - 1] == '\n') line.size--;
    if (method) tell_request(row, line, method);
    else tell_status(row, line);
    if (method) tell_headers(row, header, ASKED, ARRAY_LENGTH(ASKED));
    else tell_headers(row, header, ANSWERED, ARRAY_LENGTH(ANSWERED));
    return false;
}
