/* TLS and DTLS: the hellos, which are in clear. Sources: RFC 8446, 5246, 6347, 9147, 6066, 7301, 8701 (GREASE); JA4 as FoxIO's
 * technical details say (github.com/FoxIO-LLC/ja4). QUIC hides its hello and is not decrypted. */
#include "conversation.h"

#include <stdlib.h>

enum { HANDSHAKE = 22, CLIENT_HELLO = 1, SERVER_HELLO = 2, RECORD_HEAD = 5, MESSAGE_HEAD = 4, RANDOM = 32, HELLO_ROOM = 16384 };
enum { DTLS_RECORD_HEAD = 13, DTLS_MESSAGE_HEAD = 12 };
enum extension { SERVER_NAME = 0, SIGNATURES = 13, ALPN = 16, VERSIONS = 43 };
enum { JA4_SIZE = 36, JA4_HASH = 12, JA4_MOST = 99 };

/* From the oldest to the newest of each. */
static const struct version {
    uint16_t number;
    const char *name, *ja4;
} KNOWN_VERSIONS[] = {
    {0x0300, "SSLv3", "s3"}, {0x0301, "TLSv1.0", "10"}, {0x0302, "TLSv1.1", "11"}, {0x0303, "TLSv1.2", "12"}, {0x0304, "TLSv1.3", "13"},
    {0xFEFF, "DTLSv1.0", "d1"}, {0xFEFD, "DTLSv1.2", "d2"}, {0xFEFC, "DTLSv1.3", "d3"},
};

/* A list of numbers as they came, GREASE left out. */
struct list {
    uint16_t items[HELLO_ROOM / 2];
    size_t count;
};

struct client_hello {
    struct list ciphers, extensions, signatures;
    struct view name, protocols;
    uint16_t version;
    bool datagram, has_name;
};

static bool is_tls_record(struct view v) {
    uint16_t size = read16(v, 3);
    return v.size >= RECORD_HEAD && v.at[0] >= 20 && v.at[0] <= 24 && v.at[1] == 3 && v.at[2] <= 4 && size > 0 && size <= 16640;
}

bool tls_speaks(const struct speech *s) { return is_tls_record(s->payload); }

uint64_t tls_size(struct view v) { return is_tls_record(v) ? 5u + read16(v, 3) : 0; }

bool dtls_speaks(const struct speech *s) {
    struct view v = s->payload;
    uint16_t version = read16(v, 1);
    return v.size >= 13 && v.at[0] >= 20 && v.at[0] <= 25 && (version == 0xFEFF || version == 0xFEFD) && read16(v, 11) <= 16640;
}

static bool is_grease(uint16_t number) { return (number & 0x0F0F) == 0x0A0A && number >> 8 == (number & 255); }

/* How new a version is; -1 for one that is not known. */
static int age_of(uint16_t number) {
    for (size_t i = 0; i < ARRAY_LENGTH(KNOWN_VERSIONS); i++) {
        if (KNOWN_VERSIONS[i].number == number) return (int)i;
    }
    return -1;
}

static void tell_version(struct flow_row *row, uint16_t number) {
    int age = age_of(number);
    struct saying words = {.size = 0};
    say(&words, age >= 0 ? KNOWN_VERSIONS[age].name : "0x");
    if (age < 0) say_hex(&words, number, 4);
    fact_put(row, FACT_tls_version, &words);
}

/* What follows a size of so many bytes; `whole` is lost where not all of it is here. */
static struct view take_vector(struct view *rest, int width, bool *whole) {
    *whole &= rest->size >= (size_t)width;
    size_t size = width == 1 ? take8(rest) : take16(rest);
    *whole &= size <= rest->size;
    return take(rest, size);
}

static void add_number(struct list *list, uint16_t number) {
    if (!is_grease(number) && list->count < ARRAY_LENGTH(list->items)) list->items[list->count++] = number;
}

static void add_numbers(struct list *list, struct view numbers) {
    while (numbers.size >= 2) add_number(list, take16(&numbers));
}

/* ---- JA4 ------------------------------------------------------------------------------------------------ */

static int by_number(const void *a, const void *b) { return *(const uint16_t *)a - *(const uint16_t *)b; }

static void add_hex(struct sha256 *sha, uint16_t number, const char *before) {
    struct saying words = {.size = 0};
    say(&words, before);
    say_hex(&words, number, 4);
    sha256_add(sha, words.bytes, words.size);
}

/* The start of the hash of sorted numbers, then of others in their order; zeros of none. */
static void say_hash(struct saying *words, struct list *sorted, const struct list *others) {
    uint8_t digest[SHA256_SIZE];
    struct sha256 sha;
    sha256_start(&sha);
    qsort(sorted->items, sorted->count, sizeof *sorted->items, by_number);
    for (size_t i = 0; i < sorted->count; i++) add_hex(&sha, sorted->items[i], i ? "," : "");
    for (size_t i = 0; others && i < others->count; i++) add_hex(&sha, others->items[i], i ? "," : "_");
    sha256_end(&sha, digest);
    bool none = sorted->count == 0 && (!others || others->count == 0);
    for (size_t i = 0; i < JA4_HASH / 2; i++) say_hex(words, none ? 0 : digest[i], 2);
}

static void say_count(struct saying *words, size_t count) {
    if (count > JA4_MOST) count = JA4_MOST;
    say_number(words, count / 10);
    say_number(words, count % 10);
}

/* The first and the last character of a protocol's name; of its hexadecimal form where one of them is no letter or digit. */
static void say_ends(struct saying *words, struct view name) {
    if (!name.size) {
        say(words, "00");
        return;
    }
    uint8_t first = name.at[0], last = name.at[name.size - 1];
    bool plain = is_word(first) && first != '_' && is_word(last) && last != '_';
    char ends[] = {(char)first, (char)last, 0};
    if (plain) say(words, ends);
    else say_hex(words, first >> 4, 1), say_hex(words, last & 15, 1);
}

/* The extensions that tell of the server rather than of the client are counted, not hashed. */
static void leave_out_server(struct list *extensions) {
    size_t kept = 0;
    for (size_t i = 0; i < extensions->count; i++) {
        uint16_t kind = extensions->items[i];
        if (kind != SERVER_NAME && kind != ALPN) extensions->items[kept++] = kind;
    }
    extensions->count = kept;
}

static void tell_ja4(struct flow_row *row, struct client_hello *hello) {
    struct saying words = {.size = 0};
    int age = age_of(hello->version);
    struct view protocols = hello->protocols;
    say(&words, hello->datagram ? "d" : "t");
    say(&words, age >= 0 ? KNOWN_VERSIONS[age].ja4 : "00");
    say(&words, hello->has_name ? "d" : "i");
    say_count(&words, hello->ciphers.count);
    say_count(&words, hello->extensions.count);
    say_ends(&words, take(&protocols, take8(&protocols)));
    say(&words, "_");
    say_hash(&words, &hello->ciphers, NULL);
    say(&words, "_");
    leave_out_server(&hello->extensions);
    say_hash(&words, &hello->extensions, &hello->signatures);
    fact_put(row, FACT_tls_ja4, &words);
}

/* ---- hellos --------------------------------------------------------------------------------------------- */

/* The newest of the versions offered, known ones first. */
static void read_versions(struct client_hello *hello, struct view body) {
    bool whole = true, some = false;
    struct view list = take_vector(&body, 1, &whole);
    while (list.size >= 2) {
        uint16_t version = take16(&list);
        if (is_grease(version)) continue;
        int age = age_of(version), best = age_of(hello->version);
        if (!some || age > best || (age == best && version > hello->version)) hello->version = version;
        some = true;
    }
}

/* The first host name that is asked for (RFC 6066, section 3). */
static struct view read_name(struct view body) {
    bool whole = true;
    struct view list = take_vector(&body, 2, &whole);
    while (list.size && whole) {
        uint8_t kind = take8(&list);
        struct view name = take_vector(&list, 2, &whole);
        if (kind == 0 && whole) return name;
    }
    return (struct view){0};
}

static void read_extension(struct client_hello *hello, uint16_t kind, struct view body) {
    bool whole = true;
    add_number(&hello->extensions, kind);
    switch (kind) {
        case SERVER_NAME:
            hello->has_name = true;
            hello->name = read_name(body);
            break;
        case SIGNATURES: add_numbers(&hello->signatures, take_vector(&body, 2, &whole)); break;
        case ALPN: hello->protocols = take_vector(&body, 2, &whole); break;
        case VERSIONS: read_versions(hello, body); break;
        default: break;
    }
}

static void tell_protocols(struct flow_row *row, struct view list) {
    struct saying words = {.size = 0};
    bool whole = true;
    for (bool first = true; list.size; first = false) {
        struct view name = take_vector(&list, 1, &whole);
        if (!whole) break;
        uint8_t before = words.size;
        if (!first) say(&words, ",");
        say_captured(&words, name, ",");
        if (words.full && before) words.size = before;
    }
    if (words.size) fact_put(row, FACT_tls_alpn, &words);
}

/* What stands before the extensions of both hellos; false where this is none. */
static bool take_head(struct view *rest, bool datagram, uint16_t *version, bool *whole) {
    *version = take16(rest);
    take(rest, RANDOM);
    struct view session = take_vector(rest, 1, whole);
    return *version >> 8 == (datagram ? 0xFE : 3) && session.size <= 32;
}

static void tell_client_hello(struct flow_row *row, struct view rest, bool whole, bool datagram) {
    struct client_hello hello; /* large: only what is counted is set */
    hello.ciphers.count = hello.extensions.count = hello.signatures.count = 0;
    hello.name = hello.protocols = (struct view){0};
    hello.datagram = datagram;
    hello.has_name = false;
    if (fact_known(row, FACT_tls_version) || !take_head(&rest, datagram, &hello.version, &whole)) return;
    if (datagram) take_vector(&rest, 1, &whole); /* the cookie */
    add_numbers(&hello.ciphers, take_vector(&rest, 2, &whole));
    take_vector(&rest, 1, &whole); /* compression */
    struct view extensions = rest.size ? take_vector(&rest, 2, &whole) : rest;
    while (extensions.size >= 4) {
        bool here = true;
        uint16_t kind = take16(&extensions);
        struct view body = take_vector(&extensions, 2, &here);
        if (here) read_extension(&hello, kind, body);
        whole &= here;
    }
    tell_version(row, hello.version);
    if (hello.name.size) fact_captured(row, FACT_tls_sni, hello.name);
    tell_protocols(row, hello.protocols);
    if (whole) tell_ja4(row, &hello);
}

static void tell_server_hello(struct flow_row *row, struct view rest, bool datagram) {
    uint16_t version;
    bool whole = true;
    if (fact_known(row, FACT_tls_cipher) || !take_head(&rest, datagram, &version, &whole) || rest.size < 3) return;
    struct saying cipher = {.size = 0};
    say(&cipher, "0x");
    say_hex(&cipher, take16(&rest), 4);
    take8(&rest); /* compression */
    struct view extensions = take_vector(&rest, 2, &whole);
    while (extensions.size >= 4) {
        uint16_t kind = take16(&extensions);
        struct view body = take_vector(&extensions, 2, &whole);
        if (kind == VERSIONS && body.size >= 2) version = read16(body, 0);
    }
    fact_put(row, FACT_tls_cipher, &cipher);
    fact_forget(row, FACT_tls_version); /* what the client offered */
    tell_version(row, version);
}

static void tell_hello(struct flow_row *row, uint8_t kind, struct view body, bool whole, bool datagram) {
    if (kind == CLIENT_HELLO) tell_client_hello(row, body, whole, datagram);
    else tell_server_hello(row, body, datagram);
}

/* ---- records -------------------------------------------------------------------------------------------- */

/* The start of what the handshake records here say, in one piece. */
static struct view joined(struct view records, uint8_t room[HELLO_ROOM]) {
    size_t size = 0;
    while (records.size > RECORD_HEAD && records.at[0] == HANDSHAKE && records.at[1] == 3) {
        struct view head = take(&records, RECORD_HEAD), body = take(&records, read16(head, 3));
        body = view_first(body, HELLO_ROOM - size);
        memcpy(room + size, body.at, body.size);
        size += body.size;
    }
    return (struct view){room, size};
}

bool tls_tell(struct flow_row *row, const struct speech *s, bool last) {
    struct view v = s->payload;
    uint8_t kind = read8(v, RECORD_HEAD), room[HELLO_ROOM];
    if (v.at[0] != HANDSHAKE) return false;
    if (v.size <= RECORD_HEAD) return true;
    if (kind != CLIENT_HELLO && kind != SERVER_HELLO) return false;
    if (fact_known(row, kind == CLIENT_HELLO ? FACT_tls_version : FACT_tls_cipher)) return false;
    struct view message = joined(v, room);
    size_t size = read32(message, 0) & 0xFFFFFF;
    bool whole = message.size >= MESSAGE_HEAD + size;
    if (!whole && !last) return true;
    tell_hello(row, kind, view_first(view_from(message, MESSAGE_HEAD), size), whole, false);
    return false;
}

/* A hello in fragments is read as far as its first one goes (RFC 6347, section 4.2.3). */
bool dtls_tell(struct flow_row *row, const struct speech *s, bool last) {
    (void)last;
    struct view rest = s->payload;
    while (rest.size > DTLS_RECORD_HEAD && rest.at[0] == HANDSHAKE && rest.at[1] == 0xFE) {
        struct view head = take(&rest, DTLS_RECORD_HEAD), message = take(&rest, read16(head, 11));
        uint8_t kind = read8(message, 0);
        uint32_t size = read32(message, 0) & 0xFFFFFF, from = read32(message, 5) & 0xFFFFFF, here = read32(message, 8) & 0xFFFFFF;
        if (read16(head, 3) != 0 || from != 0 || (kind != CLIENT_HELLO && kind != SERVER_HELLO)) continue;
        bool whole = here == size && message.size >= (size_t)DTLS_MESSAGE_HEAD + size;
        tell_hello(row, kind, view_first(view_from(message, DTLS_MESSAGE_HEAD), here), whole, true);
    }
    return false;
}
