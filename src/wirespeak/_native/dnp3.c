/* DNP3. Source: IEEE 1815-2012, clauses 4 (application), 8 (transport) and 9 (link). */
#include "conversation.h"

enum { LINK_HEAD = 10, BLOCK = 16, CHECK = 2, PRIMARY = 0x40, FIRST = 0x40 };

bool dnp3_speaks(const struct speech *s) { return read16(s->payload, 0) == 0x0564 && s->payload.size >= LINK_HEAD; }

/* The bytes of the link frame that begins here, or 0 when none does: a check after the head and after each block. */
static size_t frame_size(struct view v) {
    uint8_t counted = read8(v, 2);
    size_t data = counted - 5u;
    return read16(v, 0) == 0x0564 && counted >= 5 ? LINK_HEAD + data + (data + BLOCK - 1) / BLOCK * CHECK : 0;
}

/* Whether the frame carries the first bytes of a fragment: link functions 3 and 4 of a primary station bear data. */
static bool begins_fragment(struct view v) {
    uint8_t control = read8(v, 3), function = control & 15;
    return control & PRIMARY && (function == 3 || function == 4) && read8(v, 2) >= 8 && read8(v, LINK_HEAD) & FIRST;
}

bool dnp3_tell(struct flow_row *row, const struct speech *s, bool last) {
    (void)last;
    struct view rest = s->payload;
    size_t size;
    while (!fact_known(row, FACT_dnp3_function) && rest.size >= LINK_HEAD && (size = frame_size(rest))) {
        fact_number(row, FACT_dnp3_destination, read16_little(rest, 4));
        fact_number(row, FACT_dnp3_source, read16_little(rest, 6));
        if (begins_fragment(rest) && rest.size > LINK_HEAD + 2) fact_number(row, FACT_dnp3_function, read8(rest, LINK_HEAD + 2));
        take(&rest, size);
    }
    return false;
}
