/* A column of text being written: the bytes of all texts one after the other, and where each ends. */
#ifndef WIRESPEAK_TEXTS_H
#define WIRESPEAK_TEXTS_H

#include "native.h"

struct ArrowSchema;
struct ArrowArray;

struct texts {
    int64_t *offsets, count, missing;
    uint8_t *bytes, *known; /* known: a bit a text */
    void *kept;
};

/* Room for so many texts with so many bytes in all; false without memory. What is written must be given. */
bool texts_start(struct texts *texts, int64_t count, size_t room);
void texts_give(struct texts *texts, struct ArrowSchema *schema, struct ArrowArray *array);

/* Where the next text is written. */
static inline char *texts_next(const struct texts *t) { return (char *)t->bytes + t->offsets[t->count]; }

/* The next text was written, and has so many bytes. */
static inline void texts_wrote(struct texts *t, size_t size) {
    t->known[t->count / 8] |= (uint8_t)(1 << t->count % 8);
    t->offsets[t->count + 1] = t->offsets[t->count] + (int64_t)size;
    t->count++;
}

/* There is no text here. */
static inline void texts_none(struct texts *t) {
    t->offsets[t->count + 1] = t->offsets[t->count];
    t->missing++;
    t->count++;
}

#endif
