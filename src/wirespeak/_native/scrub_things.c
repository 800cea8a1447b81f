/* Protocols that things speak: MQTT, CoAP, Modbus, DNP3, BACnet.
 *
 * Sources: OASIS MQTT 3.1.1 and 5.0; RFC 7252, 7641, 7959; Modbus Application Protocol V1.1b3; IEEE 1815; ANSI/ASHRAE 135.
 */
#include "anonymise.h"

/* ---- MQTT ------------------------------------------------------------------------------------------------ */

/* A number of seven bits a byte; how many bytes it has, 0 when it is none. */
static size_t read_variable(struct view v, size_t at, size_t *value) {
    *value = 0;
    for (size_t i = 0; i < 4; i++) {
        uint8_t byte = read8(v, at + i);
        if (at + i >= v.size) return 0;
        *value |= (size_t)(byte & 0x7F) << 7 * i;
        if (!(byte & 0x80)) return i + 1;
    }
    return 0;
}

/* A text with its size before it: words, or with `blank` nothing; where it ends. */
static size_t put_string(struct page *w, struct view v, size_t at, bool blank) {
    size_t size = read16(v, at);
    keep(w, v, at, 2);
    if (!blank) put_words(w, v, at + 2, at + 2 + size);
    return at + 2 + size;
}

/* Properties of version 5, by what their identifiers carry; where they end. */
static size_t put_properties(struct page *w, struct view v, size_t at) {
    static const char kinds[] = /* by identifier: 1, 2 or 4 bytes, v a number, t text, b bytes, p a pair */
        "\0" "1" "4" "t\0\0\0\0" "t" "b\0" "v\0\0\0\0\0" "4" "t" "2\0" "t" "b" "1" "4" "1" "t\0" "t\0\0" "t\0" "2" "2" "2" "1" "1" "p" "4" "1" "1" "1";
    size_t size, head = read_variable(v, at, &size);
    if (!head) return v.size;
    keep(w, v, at, head);
    struct view list = view_first(v, at + head + size);
    for (at += head; at < list.size;) {
        uint8_t id = read8(list, at), kind = id < sizeof kinds ? (uint8_t)kinds[id] : 0;
        size_t value, bytes;
        if (!kind) break;
        keep(w, list, at++, 1);
        switch (kind) {
            case 't': at = put_string(w, list, at, false); break;
            case 'b': at = put_string(w, list, at, true); break;
            case 'p': at = put_string(w, list, put_string(w, list, at, false), false); break;
            case 'v':
                bytes = read_variable(list, at, &value);
                keep(w, list, at, bytes);
                if (!bytes) return v.size;
                at += bytes;
                break;
            default:
                keep(w, list, at, kind - '0');
                at += kind - '0';
        }
    }
    return list.size;
}

static void put_connect(struct page *w, struct view v) {
    enum { WILL = 4, PASSWORD = 0x40, USER = 0x80 };
    size_t name = 2u + read16(v, 0);
    if (!(name == 8 && starts_with(view_from(v, 2), "MQIsdp")) && !(name == 6 && starts_with(view_from(v, 2), "MQTT"))) return;
    keep(w, v, 0, name + 4);
    bool five = read8(v, name) == 5;
    uint8_t flags = read8(v, name + 1);
    size_t at = name + 4;
    if (five) at = put_properties(w, v, at);
    at = put_string(w, v, at, false);
    if (flags & WILL) {
        if (five) at = put_properties(w, v, at);
        at = put_string(w, v, put_string(w, v, at, false), true);
    }
    if (flags & USER) at = put_string(w, v, at, false);
    if (flags & PASSWORD) put_string(w, v, at, false);
}

/* Whether a list of filters fills the rest, each followed by so many bytes. */
static bool are_filters(struct view v, size_t at, size_t more) {
    if (at >= v.size) return false;
    while (at < v.size) at += 2u + read16(v, at) + more;
    return at == v.size;
}

static void put_filters(struct page *w, struct view v, size_t more) {
    size_t at = 2;
    keep(w, v, 0, 2);
    if (!are_filters(v, at, more)) at = put_properties(w, v, at); /* so it must be version 5 */
    while (at < v.size) {
        at = put_string(w, v, at, false);
        keep(w, v, at, more);
        at += more;
    }
}

bool scrub_mqtt(struct page *w, struct view v) {
    enum { CONNECT = 1, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH };
    bool any = false;
    for (size_t at = 0; at + 2 <= v.size;) {
        uint8_t type = read8(v, at) >> 4, flags = read8(v, at) & 15;
        size_t size, head = 1 + read_variable(v, at + 1, &size);
        bool fits = type == PUBLISH || (type >= CONNECT && flags == (type == PUBREL || type == SUBSCRIBE || type == UNSUBSCRIBE ? 2 : 0));
        if (head == 1 || !fits || (!any && type != CONNECT && at + head + size > v.size + (1 << 20))) return any;
        any = true;
        keep(w, v, at, head);
        struct view body = view_from(view_first(v, at + head + size), at + head);
        switch (type) {
            case CONNECT: put_connect(w, body); break;
            case PUBLISH: {
                size_t end = put_string(w, body, 0, false);
                if (flags & 6) keep(w, body, end, 2);
                break;
            }
            case SUBSCRIBE: put_filters(w, body, 1); break;
            case UNSUBSCRIBE: put_filters(w, body, 0); break;
            case PUBACK: case PUBREC: case PUBREL: case PUBCOMP: keep(w, body, 0, 3); break;
            case SUBACK: keep(w, body, 0, body.size <= 10 ? body.size : 2); break;
            case CONNACK: case UNSUBACK: case DISCONNECT: keep(w, body, 0, 2); break;
            default: break;
        }
        at += head + size;
    }
    return any;
}

/* ---- CoAP ------------------------------------------------------------------------------------------------- */

bool scrub_coap(struct page *w, struct view v) {
    enum { HOST = 3, LOCATION = 8, PATH = 11, QUERY = 15, LOCATION_QUERY = 20, PROXY = 35, SCHEME = 39, SIZE_2 = 28, SIZE_1 = 60, OBSERVE = 6, PORT = 7, FORMAT = 12, AGE = 14, ACCEPT = 17, BLOCK_2 = 23, BLOCK_1 = 27 };
    uint8_t token = read8(v, 0) & 15;
    unsigned number = 0;
    if (v.size < 4 || read8(v, 0) >> 6 != 1 || token > 8) return false;
    keep(w, v, 0, 4); /* the token is blank */
    for (size_t at = 4u + token; at < v.size && read8(v, at) != 0xFF;) {
        size_t delta = read8(v, at) >> 4, size = read8(v, at) & 15, head = 1;
        if (delta == 15 || size == 15) return true;
        size_t *parts[] = {&delta, &size};
        for (size_t i = 0; i < 2; i++) {
            if (*parts[i] == 13) *parts[i] = 13u + read8(v, at + head), head += 1;
            else if (*parts[i] == 14) *parts[i] = 269u + read16(v, at + head), head += 2;
        }
        number += (unsigned)delta;
        keep(w, v, at, head);
        at += head;
        struct view option = view_first(v, at + size);
        switch (number) {
            case HOST: case LOCATION: case PATH: case QUERY: case LOCATION_QUERY: case PROXY: case SCHEME: put_words(w, option, at, option.size); break;
            case OBSERVE: case PORT: case FORMAT: case AGE: case ACCEPT: case BLOCK_1: case BLOCK_2: case SIZE_1: case SIZE_2: keep_codes(w, option, at, size); break;
            default: break;
        }
        at += size;
        if (at < v.size && read8(v, at) == 0xFF) keep(w, v, at, 1);
    }
    return true;
}

/* ---- Modbus ----------------------------------------------------------------------------------------------- */

/* Function, address and quantity stay; values do not. A response's values follow their count. */
bool scrub_modbus(struct page *w, struct view v) {
    bool any = false;
    for (size_t at = 0; at + 8 <= v.size;) {
        size_t size = read16(v, at + 4);
        if (read16(v, at + 2) != 0 || size < 2 || size > 254) return any;
        struct view unit = view_from(view_first(v, at + 6 + size), at);
        uint8_t function = read8(unit, 7);
        bool reads = function >= 1 && function <= 4, writes = function == 15 || function == 16;
        bool counted = size >= 3 && read8(unit, 8) == size - 3;
        keep(w, unit, 0, 8);
        if (function & 0x80) keep(w, unit, 8, 1);
        else if (reads) keep(w, unit, 8, counted ? 1 : 4);
        else if (function == 5 || function == 6) keep(w, unit, 8, 2);
        else if (writes) keep(w, unit, 8, 5);
        else if (function == 23 && !counted) keep(w, unit, 8, 9);
        else if (counted) keep(w, unit, 8, 1);
        any = true;
        at += 6 + size;
    }
    return any;
}

/* ---- DNP3 ------------------------------------------------------------------------------------------------- */

static uint16_t dnp3_check(const uint8_t *at, size_t size) {
    uint16_t code = 0;
    for (size_t i = 0; i < size; i++) {
        code ^= at[i];
        for (int bit = 0; bit < 8; bit++) code = (uint16_t)(code & 1 ? code >> 1 ^ 0xA6BC : code >> 1);
    }
    return (uint16_t)~code;
}

static void put_dnp3_check(struct page *w, struct view v, size_t at, size_t size) {
    put16(w, v, at + size, at + size + 2 <= v.size ? __builtin_bswap16(dnp3_check(place(w, v, at), size)) : 0);
}

static void put_station(struct page *w, struct view v, size_t at) {
    if (at + 2 > v.size) return;
    uint8_t bytes[2] = {v.at[at + 1], v.at[at]};
    stand_in(w->s, ID_SHORT, bytes, 2, bytes);
    put16(w, v, at, (uint16_t)(bytes[1] << 8 | bytes[0]));
    w->tallies[T_OTHER]++;
}

/* A link frame, its checks anew; of the transport and application layers control, function and indications. */
bool scrub_dnp3(struct page *w, struct view v) {
    enum { HEAD = 10, BLOCK = 16 };
    bool any = false;
    for (size_t at = 0; at + HEAD <= v.size;) {
        size_t left = read8(v, at + 2);
        if (read16(v, at) != 0x0564 || left < 5) return any;
        any = true;
        left -= 5;
        keep(w, v, at, 4);
        put_station(w, v, at + 4);
        put_station(w, v, at + 6);
        put_dnp3_check(w, v, at, 8);
        bool from_master = read8(v, at + 3) & 0x80, first = read8(v, at + HEAD) & 0x40;
        at += HEAD;
        for (size_t block = 0; left; block++) {
            size_t size = left < BLOCK ? left : BLOCK, shown = first ? (from_master ? 3 : 5) : 1;
            if (block == 0) keep(w, view_first(v, at + size), at, shown);
            put_dnp3_check(w, v, at, size);
            at += size + 2;
            left -= size;
            if (at >= v.size) return true;
        }
    }
    return any;
}

/* ---- BACnet ------------------------------------------------------------------------------------------------ */

/* Tags of values and their sizes (20.2.1); the values themselves are blank. */
static void put_tags(struct page *w, struct view v, size_t at) {
    enum { TRUTH = 1, CONTEXT = 8, EXTENDED = 5, OPENS = 6 };
    while (at < v.size) {
        uint8_t tag = read8(v, at), number = tag >> 4, kind = tag & 7;
        size_t head = number == 15 ? 2 : 1, size = kind < EXTENDED ? kind : 0;
        bool bare = tag & CONTEXT ? kind >= OPENS : number == TRUTH || number == 0;
        if (kind == EXTENDED) {
            size = read8(v, at + head++);
            if (size == 254) size = read16(v, at + head), head += 2;
            else if (size == 255) return;
        }
        keep(w, v, at, head);
        at += head + (bare ? 0 : size);
    }
}

/* The virtual link, and of a message that is not routed on the kind, the service, its number and its tags. */
bool scrub_bacnet(struct page *w, struct view v) {
    enum { FORWARDED = 4, ROUTED = 0x28, NETWORK = 0x80 };
    if (read8(v, 0) != 0x81 || v.size < 4) return false;
    keep(w, v, 0, 4);
    size_t at = 4;
    if (read8(v, 1) == FORWARDED) {
        put_ipv4(w, v, 4);
        keep(w, v, 8, 2);
        at = 10;
    }
    uint8_t control = read8(v, at + 1), kind = read8(v, at + 2) >> 4;
    bool carries = read8(v, 1) == FORWARDED || (read8(v, 1) >= 9 && read8(v, 1) <= 11);
    if (!carries || read8(v, at) != 1) return true;
    keep(w, v, at, 2);
    if (control & (ROUTED | NETWORK)) return true;
    size_t head = kind == 0 ? read8(v, at + 2) & 8 ? 6 : 4 : kind == 1 ? 2 : kind == 3 && read8(v, at + 2) & 8 ? 5 : 3;
    keep(w, v, at + 2, head);
    if (kind <= 3 || kind == 5) put_tags(w, v, at + 2 + head); /* a reject or abort ends here */
    return true;
}
