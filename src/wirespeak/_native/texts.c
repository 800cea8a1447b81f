/* Columns of text, written once and handed over without a copy.
 *
 * Source: the Arrow C data interface (arrow.apache.org/docs/format/CDataInterface.html), format "U": UTF-8 with 64-bit offsets.
 */
#include "texts.h"

#include <stdlib.h>

enum { NULLABLE = 2 };

struct ArrowSchema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct ArrowSchema **children, *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children, *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

/* What the array keeps: its validity, offsets and bytes, in Arrow's order. */
enum { KNOWN, OFFSETS, BYTES, BUFFERS };
struct kept {
    void *buffers[BUFFERS];
};

static void free_kept(struct kept *kept) {
    for (int i = 0; i < BUFFERS; i++) free(kept->buffers[i]);
    free(kept);
}

static void release_array(struct ArrowArray *array) {
    free_kept(array->private_data);
    array->release = NULL;
}

static void release_schema(struct ArrowSchema *schema) { schema->release = NULL; }

bool texts_start(struct texts *t, int64_t count, size_t room) {
    memset(t, 0, sizeof *t);
    struct kept *kept = calloc(1, sizeof *kept);
    if (!kept) return false;
    kept->buffers[KNOWN] = t->known = calloc((size_t)count / 8 + 1, 1);
    kept->buffers[OFFSETS] = t->offsets = malloc(((size_t)count + 1) * sizeof *t->offsets);
    kept->buffers[BYTES] = t->bytes = malloc(room + 1);
    t->kept = kept;
    if (!t->known || !t->offsets || !t->bytes) {
        free_kept(kept);
        return false;
    }
    t->offsets[0] = 0;
    return true;
}

void texts_give(struct texts *t, struct ArrowSchema *schema, struct ArrowArray *array) {
    struct kept *kept = t->kept;
    *schema = (struct ArrowSchema){.format = "U", .name = "", .flags = NULLABLE, .release = release_schema};
    *array = (struct ArrowArray){
        .length = t->count, .null_count = t->missing, .n_buffers = BUFFERS, .buffers = (const void **)kept->buffers,
        .release = release_array, .private_data = kept,
    };
}

/* Lets go of an array that nobody took. */
EXPORT void wirespeak_texts_free(struct ArrowArray *array) {
    if (array->release) array->release(array);
}

/* ---- columns, each false without memory ------------------------------------------------------------------ */

EXPORT bool wirespeak_address_texts(const uint8_t (*addresses)[16], const uint8_t *families, int64_t count, struct ArrowSchema *schema,
                                    struct ArrowArray *array) {
    struct texts texts;
    if (!texts_start(&texts, count, (size_t)count * ADDRESS_TEXT)) return false;
    for (int64_t i = 0; i < count; i++) texts_wrote(&texts, address_text(texts_next(&texts), addresses[i], families[i]));
    texts_give(&texts, schema, array);
    return true;
}

/* Link-layer addresses, bytes in hexadecimal between colons; null where they are not known. */
EXPORT bool wirespeak_mac_texts(const uint8_t (*macs)[6], const uint8_t *known, int64_t count, struct ArrowSchema *schema, struct ArrowArray *array) {
    enum { MAC_TEXT = 17 };
    static const char digits[] = "0123456789abcdef";
    struct texts texts;
    if (!texts_start(&texts, count, (size_t)count * MAC_TEXT)) return false;
    for (int64_t i = 0; i < count; i++) {
        char *text = texts_next(&texts);
        for (int k = 0; k < 6; k++) {
            if (k) text[3 * k - 1] = ':';
            text[3 * k] = digits[macs[i][k] >> 4];
            text[3 * k + 1] = digits[macs[i][k] & 15];
        }
        if (known[i]) texts_wrote(&texts, MAC_TEXT);
        else texts_none(&texts);
    }
    texts_give(&texts, schema, array);
    return true;
}

/* ASCII text of a fixed width that ends at its first zero; null where it is empty. */
EXPORT bool wirespeak_fixed_texts(const char *values, size_t width, int64_t count, struct ArrowSchema *schema, struct ArrowArray *array) {
    struct texts texts;
    if (!texts_start(&texts, count, (size_t)count * width)) return false;
    for (int64_t i = 0; i < count; i++, values += width) {
        const char *end = memchr(values, 0, width);
        size_t size = end ? (size_t)(end - values) : width;
        memcpy(texts_next(&texts), values, size);
        if (size) texts_wrote(&texts, size);
        else texts_none(&texts);
    }
    texts_give(&texts, schema, array);
    return true;
}
