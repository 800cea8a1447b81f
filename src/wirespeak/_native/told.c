/* The context of flows that a log tells, from when they began and ended and how. */
#include "native.h"

#include <stdlib.h>

/* As `told` in flow/context.py lays it out. bits: when it began; soon: as soon as it could be answered; late: when it ended. */
struct told {
    int64_t clock;
    uint8_t src[16], dst[16];
    uint16_t port;
    uint8_t family, has_port, bits, soon, late, unused;
};
_Static_assert(sizeof(struct told) == 48, "as Python has it");

static void begin(struct past *past, const struct told *told, uint64_t seed) {
    past->clock = told->clock;
    memcpy(past->src.bytes, told->src, 16);
    memcpy(past->dst.bytes, told->dst, 16);
    past->src.family = past->dst.family = told->family;
    past->port = told->port;
    past->has_port = told->has_port;
    past->bits = told->bits;
    context_hash(past, seed);
}

/* Goes through what happened: `order` has twice the number of a flow where it begins, and one more where it ends. Counts go to `out`,
 * one flow after the other. False without memory. */
EXPORT bool wirespeak_context_of(const struct told *told, int64_t flows, const int64_t *order, uint64_t seed,
                                 uint32_t (*out)[KEYS][WINDOWS][QUANTITIES]) {
    struct context context;
    struct pool pasts;
    uint32_t *alive = malloc((size_t)(flows ? flows : 1) * sizeof *alive);
    bool well = context_start(&context, seed, 1u << 24) && alive;
    pool_start(&pasts, sizeof(struct past));
    for (int64_t i = 0; well && i < 2 * flows; i++) {
        int64_t flow = order[i] / 2;
        bool begins = order[i] % 2 == 0;
        if (begins) alive[flow] = pool_take(&pasts);
        if (alive[flow] == NONE) {
            well = false;
            break;
        }
        struct past *past = pool_at(&pasts, alive[flow]);
        if (begins) begin(past, &told[flow], seed);
        for (int by = BY_SRC; by < KEYS; by++) {
            if (begins) well &= context_enter(&context, past, by);
            context_change(&context, past, by, begins ? told[flow].soon : told[flow].late);
            if (!begins) context_leave(&context, past, by);
        }
        if (begins) memcpy(out[flow], past->context, sizeof *out);
        else pool_give(&pasts, alive[flow]);
    }
    context_end(&context);
    pool_end(&pasts);
    free(alive);
    return well;
}
