/* CoAP over UDP. Sources: RFC 7252, 8132. */
#include "conversation.h"

enum option { URI_PATH = 11, URI_QUERY = 15 };

bool coap_speaks(const struct speech *s) {
    struct view v = s->payload;
    uint8_t kind = read8(v, 1) >> 5;
    bool known = kind == 0 || kind == 2 || kind == 4 || kind == 5 || kind == 7;
    return uses_port(s, 5683) && v.size >= 4 && v.at[0] >> 6 == 1 && (v.at[0] & 15) <= 8 && known;
}

void coap_hear(struct conversation *c, struct flow_row *row, const struct speech *s) {
    (void)c;
    uint8_t code = read8(s->payload, 1);
    if (code == 0) return; /* an empty message only acknowledges */
    count_message(row, s);
    row->errors += code >> 5 == 4 || code >> 5 == 5;
}

/* A code as c.dd (section 3). */
static void say_code(struct saying *words, uint8_t code) {
    say_number(words, code >> 5);
    say(words, ".");
    say_number(words, (code & 31) / 10);
    say_number(words, (code & 31) % 10);
}

/* A nibble of an option's head, with the bytes that extend it (section 3.1); false when it is reserved. */
static bool extend(struct view *rest, uint32_t *nibble) {
    if (*nibble == 13) *nibble += take8(rest);
    else if (*nibble == 14) *nibble = 269u + take16(rest);
    else return *nibble != 15;
    return true;
}

/* The path and the query of a request as a URI has them (section 6.5). */
static void say_uri(struct saying *words, struct view rest) {
    uint32_t option = 0;
    bool path = false, query = false;
    while (rest.size && rest.at[0] != 0xFF) {
        uint8_t head = take8(&rest);
        uint32_t delta = head >> 4, size = head & 15;
        if (!extend(&rest, &delta) || !extend(&rest, &size) || size > rest.size) break;
        struct view value = take(&rest, size);
        option += delta;
        if (option == URI_PATH) {
            say(words, "/");
            say_captured(words, value, "/?");
            path = true;
        } else if (option == URI_QUERY) {
            say(words, query ? "&" : path ? "?" : "/?");
            say_captured(words, value, "&");
            query = true;
        }
    }
    if (!path && !query) say(words, "/");
}

bool coap_tell(struct flow_row *row, const struct speech *s, bool last) {
    static const char *const methods[] = {"", "GET", "POST", "PUT", "DELETE", "FETCH", "PATCH", "iPATCH"};
    struct view v = s->payload;
    uint8_t code = read8(v, 1), kind = code >> 5;
    (void)last;
    if (v.size < 4 || v.at[0] >> 6 != 1 || (v.at[0] & 15) > 8) return false;
    bool asks = kind == 0 && code && !fact_known(row, FACT_coap_method), answers = kind == 2 || kind == 4 || kind == 5;
    struct saying words = {.size = 0};
    if (answers && !fact_known(row, FACT_coap_code)) {
        say_code(&words, code);
        fact_put(row, FACT_coap_code, &words);
    }
    if (!asks) return false;
    if (code < ARRAY_LENGTH(methods)) say(&words, methods[code]);
    else say_code(&words, code);
    fact_put(row, FACT_coap_method, &words);
    words.size = 0;
    say_uri(&words, view_from(v, 4u + (v.at[0] & 15)));
    fact_put(row, FACT_coap_uri, &words);
    return false;
}
