/* The text of a request: metacharacters, keywords, entropy. It is counted, never interpreted. */
#include "conversation.h"

#include <math.h>

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

bool text_count(struct flow_row *row, struct view target, struct view body) {
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
