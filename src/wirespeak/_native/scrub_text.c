/* Protocols of lines: HTTP and what is written like it (RTSP, SIP, SSDP), mail, FTP, SSH's beginning, syslog.
 *
 * Sources: RFC 9112, 7826, 3261, UPnP Device Architecture 2.0, RFC 5321, 959, 4253, 5424.
 */
#include "anonymise.h"

static bool same_letters(struct view v, size_t at, size_t size, const char *word) {
    if (strlen(word) != size || at + size > v.size) return false;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = v.at[at + i];
        if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != (uint8_t)word[i]) return false;
    }
    return true;
}

static bool among(struct view v, size_t at, size_t size, const char *const *words, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (same_letters(v, at, size, words[i])) return true;
    }
    return false;
}

/* Where the first of the marks stands, or the end. */
static size_t until(struct view v, size_t at, size_t end, const char *marks) {
    while (at < end && !(v.at[at] && strchr(marks, v.at[at]))) at++;
    return at;
}

static const char *const methods[] = {
    "get", "head", "post", "put", "delete", "options", "patch", "connect", "trace", "m-search", "notify", "subscribe", "unsubscribe", "describe", "setup",
    "play", "pause", "teardown", "announce", "record", "get_parameter", "set_parameter", "redirect", "invite", "ack", "bye", "cancel", "register", "info",
    "message", "prack", "refer", "update", "publish", "propfind", "proppatch", "mkcol", "copy", "move", "lock", "unlock", "search", "report",
};
static const char *const headers[] = {
    "accept", "accept-charset", "accept-encoding", "accept-language", "accept-ranges", "access-control-allow-origin", "age", "allow", "authorization",
    "cache-control", "call-id", "connection", "contact", "content-encoding", "content-language", "content-length", "content-type", "cookie", "cseq", "date",
    "etag", "expect", "expires", "from", "host", "if-modified-since", "if-none-match", "keep-alive", "last-modified", "location", "man", "max-forwards", "mx",
    "nt", "nts", "origin", "pragma", "proxy-authorization", "proxy-connection", "public", "range", "referer", "rtp-info", "sec-websocket-accept",
    "sec-websocket-key", "sec-websocket-version", "server", "session", "set-cookie", "st", "to", "transfer-encoding", "transport", "upgrade", "user-agent",
    "usn", "vary", "via", "www-authenticate", "x-forwarded-for", "x-powered-by", "x-requested-with",
};
/* Headers whose value says how the message is written: words of the protocol in it stay, and of some all numbers. */
static const char *const shaping[] = {
    "accept-encoding", "accept-ranges", "cache-control", "connection", "content-encoding", "expect", "keep-alive", "man", "nt", "nts", "pragma",
    "proxy-connection", "st", "transfer-encoding", "upgrade", "usn", "www-authenticate", "authorization",
};
static const char *const numbers[] = {"age", "content-length", "cseq", "max-forwards", "mx", "sec-websocket-version"};

static bool is_version(struct view v, size_t at, size_t size) {
    static const char *const versions[] = {"http/1.0", "http/1.1", "http/0.9", "rtsp/1.0", "rtsp/2.0", "sip/2.0"};
    return among(v, at, size, versions, ARRAY_LENGTH(versions));
}

/* A number stays; from the first thing that is none on, words are replaced. */
static void put_number(struct page *w, struct view v, size_t at, size_t end) {
    for (size_t i = at; i < end; i++) {
        if (v.at[i] >= '0' && v.at[i] <= '9' && end - at <= 12) keep(w, v, i, 1);
        else if (v.at[i] == ' ') keep(w, v, i, 1);
        else {
            put_public(w, v, i, end);
            return;
        }
    }
}

static void put_header(struct page *w, struct view v, size_t at, size_t end) {
    size_t colon = until(v, at, end, ":");
    bool known = among(v, at, colon - at, headers, ARRAY_LENGTH(headers));
    if (known) keep(w, v, at, colon - at);
    else put_words(w, v, at, colon);
    if (colon == end) return;
    keep(w, v, colon, 1);
    if (among(v, at, colon - at, numbers, ARRAY_LENGTH(numbers))) put_number(w, v, colon + 1, end);
    else if (among(v, at, colon - at, shaping, ARRAY_LENGTH(shaping))) put_public(w, v, colon + 1, end);
    else put_words(w, v, colon + 1, end);
}

/* The first line: a request's method and version stay, a response's version, status and the usual reasons. */
static void put_first_line(struct page *w, struct view v, size_t end) {
    size_t blank = until(v, 0, end, " "), last = end;
    keep(w, v, 0, blank);
    if (is_version(v, 0, blank)) {
        size_t status = until(v, blank + 1 < end ? blank + 1 : end, end, " ");
        if (status - blank == 4) keep(w, v, blank, 4), blank = status;
        put_public(w, v, blank, end);
        return;
    }
    while (last > blank + 1 && v.at[last - 1] != ' ') last--;
    bool versioned = is_version(v, last, end - last);
    put_words(w, v, blank, versioned ? last : end);
    if (versioned) keep(w, v, last, end - last);
}

bool scrub_text(struct page *w, struct view v) {
    struct view start = view_first(v, 16);
    size_t blank = until(start, 0, start.size, " ");
    if (blank == start.size) return false;
    if (!is_version(v, 0, blank) && !among(v, 0, blank, methods, ARRAY_LENGTH(methods))) return false;
    for (size_t at = 0; at < v.size;) {
        size_t end = until(v, at, v.size, "\r\n"), next = end;
        if (read8(v, next) == '\r') next++;
        if (read8(v, next) == '\n') next++;
        if (at == 0) put_first_line(w, v, end);
        else if (end == at) {
            keep(w, v, end, next - end);
            return true; /* what follows is the body, and blank */
        } else put_header(w, v, at, end);
        keep(w, v, end, next - end);
        at = next;
    }
    return true;
}

static const char *const commands[] = {
    "user", "pass", "acct", "cwd", "cdup", "quit", "port", "pasv", "eprt", "epsv", "type", "stru", "mode", "retr", "stor", "appe", "rest", "rnfr", "rnto",
    "abor", "dele", "rmd", "mkd", "pwd", "list", "nlst", "site", "syst", "stat", "help", "noop", "feat", "size", "mdtm", "auth", "pbsz", "prot", "ehlo", "helo",
    "mail", "rcpt", "data", "rset", "vrfy", "expn", "starttls", "uidl", "top", "dele", "+ok", "-err", "login", "capa",
};

/* Whether a word is one that lines keep, whoever says it. */
bool is_kept_word(const uint8_t *word, size_t size) {
    struct view v = {word, size};
    return is_public(word, size) || among(v, 0, size, methods, ARRAY_LENGTH(methods)) || among(v, 0, size, headers, ARRAY_LENGTH(headers)) ||
           among(v, 0, size, commands, ARRAY_LENGTH(commands));
}

/* Lines of a command or a number, then words. Text that is neither, such as a mail, is words. */
bool scrub_lines(struct page *w, struct view v) {
    for (size_t at = 0; at < v.size;) {
        size_t end = until(v, at, v.size, "\n"), word = until(v, at, end, " \r-");
        bool code = word - at == 3;
        for (size_t i = at; code && i < word; i++) code = v.at[i] >= '0' && v.at[i] <= '9';
        word = code ? word : until(v, at, end, " \r");
        if (!code && !among(v, at, word - at, commands, ARRAY_LENGTH(commands))) word = at;
        keep(w, v, at, word - at);
        put_words(w, v, word, end);
        keep(w, v, end, 1);
        at = end + 1;
    }
    return true;
}

bool scrub_ssh(struct page *w, struct view v) {
    if (!starts_with(v, "SSH-2.0-") && !starts_with(v, "SSH-1.99-")) return false;
    size_t head = v.at[4] == '2' ? 8 : 9, end = until(v, head, v.size, "\n");
    keep(w, v, 0, head);
    put_words(w, v, head, end);
    keep(w, v, end, 1);
    return true;
}

/* Packets of the key exchange, which are not encrypted yet: sizes and types, and of the first one how long each list is. */
bool scrub_ssh_packets(struct page *w, struct view v) {
    enum { INIT = 20, NEW_KEYS = 21, FIRST_EXCHANGE = 30, LAST_EXCHANGE = 34, LISTS = 22, HEAD = 6 };
    bool any = false;
    for (size_t at = 0; at + HEAD <= v.size;) {
        size_t size = read32(v, at);
        uint8_t padding = read8(v, at + 4), type = read8(v, at + 5);
        bool known = type == INIT || type == NEW_KEYS || (type >= FIRST_EXCHANGE && type <= LAST_EXCHANGE);
        if (!known || size > 35000 || (size + 4) % 8 || padding < 4 || padding + 2u > size) return any;
        struct view packet = view_first(v, at + 4 + size);
        keep(w, packet, at, HEAD);
        for (size_t list = at + LISTS, n = 0; type == INIT && n < 10 && list + 4 <= packet.size; n++) {
            keep(w, packet, list, 4);
            put_words(w, packet, list + 4, list + 4 + read32(packet, list));
            list += 4 + (size_t)read32(packet, list);
        }
        any = true;
        at += 4 + size;
    }
    return any;
}

bool scrub_syslog(struct page *w, struct view v) {
    size_t end = until(view_first(v, 5), 0, v.size < 5 ? v.size : 5, ">");
    if (read8(v, 0) != '<' || read8(v, end) != '>') return false;
    for (size_t i = 1; i < end; i++) {
        if (v.at[i] < '0' || v.at[i] > '9') return false;
    }
    keep(w, v, 0, end + 1);
    put_words(w, v, end + 1, v.size);
    return true;
}
