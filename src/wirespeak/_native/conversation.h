/* What the files that hear conversations share. */
#ifndef WIRESPEAK_CONVERSATION_H
#define WIRESPEAK_CONVERSATION_H

#include "native.h"

enum { TEXT_ROOM = 2048 }; /* bytes of a target, and of a body, that are looked at */
enum request_part { NO_REQUEST, IN_HEADER, IN_BODY, IN_CHUNKS };

static inline uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }
static inline bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static inline bool is_word(uint8_t c) { return is_digit(c) || c == '_' || (lower(c) >= 'a' && lower(c) <= 'z'); }

static inline size_t find_byte(struct view v, uint8_t byte) {
    const uint8_t *found = v.size ? memchr(v.at, byte, v.size) : NULL;
    return found ? (size_t)(found - v.at) : v.size;
}

static inline void count_message(struct flow_row *row, const struct speech *s) {
    if (s->backward) row->answers++;
    else row->messages++;
}

/* Counts the signs and words of a request text (text.c); whether its body names a password field. */
bool text_count(struct flow_row *row, struct view target, struct view body);

/* HTTP and RTSP (http.c). */
bool http_speaks(struct view payload); /* a request or a response begins here */
bool http_is_rtsp(struct view payload);
void http_hear(struct conversation *conversation, struct flow_row *row, const struct speech *speech);
void http_end(struct conversation *conversation, struct flow_row *row); /* the request in progress ends here */

#endif
