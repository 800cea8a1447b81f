/* TLS and DTLS: records, handshake messages, cipher suites and extensions keep their shape; names are replaced, and randoms,
 * keys, tickets, certificates and everything encrypted are blank.
 *
 * Sources: RFC 5246, 8446, 6347, 9147, 6066, 7301.
 */
#include "anonymise.h"

enum { CHANGE = 20, ALERT = 21, HANDSHAKE = 22, DATA = 23, HEARTBEAT = 24 };
enum { CLIENT_HELLO = 1, SERVER_HELLO = 2, RETRY = 3, TICKET = 4, CERTIFICATE = 11, FINISHED = 20 };

struct dialect {
    size_t record, message, length_at; /* sizes of the two heads, and where the first has its length */
    bool datagram;
};

/* Protocols that are anybody's stay; others are words. */
static void put_protocols(struct page *w, struct view v) {
    static const char *const known[] = {"h2", "h3", "http/1.0", "http/1.1", "spdy/3", "spdy/3.1", "mqtt", "coap", "dot", "doq", "ftp", "imap", "pop3", "webrtc", "x-amzn-mqtt-ca"};
    keep(w, v, 0, 2);
    for (size_t at = 2; at < v.size;) {
        size_t size = read8(v, at);
        struct view name = view_from(view_first(v, at + 1 + size), at + 1);
        bool stays = false;
        for (size_t i = 0; i < ARRAY_LENGTH(known); i++) stays |= strlen(known[i]) == name.size && memcmp(name.at, known[i], name.size) == 0;
        keep(w, v, at, stays ? 1 + size : 1);
        if (!stays) put_words(w, name, 0, name.size);
        at += 1 + size;
    }
}

static void put_extension(struct page *w, struct view v, uint16_t type) {
    enum { NAME = 0, GROUPS = 10, FORMATS = 11, SIGNATURES = 13, ALPN = 16, COMPRESSION = 27, LIMIT = 28, VERSIONS = 43, MODES = 45, SIGNATURES_CERT = 50, SHARE = 51, INFO = 65281 };
    switch (type) {
        case NAME:
            keep(w, v, 0, 5);
            put_words(w, v, 5, 5u + read16(v, 3));
            return;
        case GROUPS: case FORMATS: case SIGNATURES: case COMPRESSION: case LIMIT: case VERSIONS: case MODES: case SIGNATURES_CERT:
            keep_codes(w, v, 0, v.size);
            return;
        case ALPN:
            put_protocols(w, v);
            return;
        case INFO:
            keep(w, v, 0, 1);
            return;
        case SHARE:
            if (v.size <= 2) keep(w, v, 0, 2);
            else if (read16(v, 0) == v.size - 2) { /* a client's list */
                keep(w, v, 0, 2);
                for (size_t at = 2; at + 4 <= v.size; at += 4u + read16(v, at + 2)) keep(w, v, at, 4);
            } else keep(w, v, 0, 4);
            return;
        default:
            return;
    }
}

static void put_extensions(struct page *w, struct view v, size_t at) {
    keep(w, v, at, 2);
    for (at += 2; at + 4 <= v.size;) {
        size_t size = read16(v, at + 2);
        keep(w, v, at, 4);
        put_extension(w, view_from(view_first(v, at + 4 + size), at + 4), read16(v, at));
        at += 4 + size;
    }
}

static void put_hello(struct page *w, struct view v, bool client, bool datagram) {
    enum { FIXED = 34 };
    keep(w, v, 0, 2);
    keep(w, v, FIXED, 1);
    size_t at = FIXED + 1u + read8(v, FIXED);
    if (client && datagram) {
        keep(w, v, at, 1);
        at += 1u + read8(v, at);
    }
    if (client) {
        size_t suites = 2u + read16(v, at);
        keep_codes(w, v, at, suites);
        at += suites;
        suites = 1u + read8(v, at);
        keep_codes(w, v, at, suites);
        at += suites;
    } else {
        keep(w, v, at, 3);
        at += 3;
    }
    put_extensions(w, v, at);
}

/* The sizes in a list of certificates, as TLS 1.2 writes it. */
static void put_certificates(struct page *w, struct view v) {
    size_t all = read32(v, 0) >> 8;
    if (all + 3 != v.size && v.size >= 3) return;
    keep(w, v, 0, 3);
    for (size_t at = 3; at + 3 <= v.size; at += 3 + (read32(v, at) >> 8)) keep(w, v, at, 3);
}

/* A record's messages, where they are not encrypted: types that exist, sizes that fit. */
static void put_messages(struct page *w, struct view v, size_t wire, const struct dialect *dialect) {
    for (size_t at = 0; at + dialect->message <= v.size;) {
        uint8_t type = read8(v, at);
        size_t size = read32(v, at) & 0xFFFFFF, piece = dialect->datagram ? read32(v, at + 8) & 0xFFFFFF : size;
        bool known = type <= 4 || type == 5 || type == 8 || (type >= 11 && type <= 16) || type == FINISHED || type == 22;
        if (!known || at + dialect->message + piece > wire) return;
        keep(w, v, at, dialect->message);
        struct view body = view_from(view_first(v, at + dialect->message + piece), at + dialect->message);
        if (type == CLIENT_HELLO || type == SERVER_HELLO) put_hello(w, body, type == CLIENT_HELLO, dialect->datagram);
        if (type == CERTIFICATE) put_certificates(w, body);
        if (type == RETRY && dialect->datagram) keep(w, body, 0, 3);
        if (type == TICKET) keep(w, body, 4, 2);
        at += dialect->message + piece;
    }
}

static bool put_records(struct page *w, struct view v, const struct dialect *dialect) {
    bool any = false;
    for (size_t at = 0; at + dialect->record <= v.size;) {
        uint8_t type = read8(v, at), major = read8(v, at + 1);
        size_t size = read16(v, at + dialect->length_at);
        if (type < CHANGE || type > HEARTBEAT || major != (dialect->datagram ? 0xFE : 3) || size > (1 << 14) + 2048) return any;
        any = true;
        keep(w, v, at, dialect->record);
        struct view body = view_from(view_first(v, at + dialect->record + size), at + dialect->record);
        if (type == CHANGE && size == 1) keep(w, body, 0, 1);
        if (type == ALERT && size == 2) keep(w, body, 0, 2);
        if (type == HANDSHAKE) put_messages(w, body, size, dialect);
        at += dialect->record + size;
    }
    return any;
}

bool scrub_tls(struct page *w, struct view v) { return put_records(w, v, &(struct dialect){5, 4, 3, false}); }
bool scrub_dtls(struct page *w, struct view v) { return put_records(w, v, &(struct dialect){13, 12, 11, true}); }
