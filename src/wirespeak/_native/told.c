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

static struct notice begin(const struct told *told) {
    return (struct notice){
        .clock = told->clock, .src = address_of(told->src, told->family), .dst = address_of(told->dst, told->family), .bits = told->bits,
        .has_port = told->has_port, .port = told->port,
    };
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
        if (order[i] % 2) {
            struct past *past = pool_at(&pasts, alive[flow]);
            context_change(&context, past, told[flow].late);
            context_leave(&context, past);
            pool_give(&pasts, alive[flow]);
            continue;
        }
        alive[flow] = pool_take(&pasts);
        well = alive[flow] != NONE;
        if (!well) break;
        struct past *past = pool_at(&pasts, alive[flow]);
        struct notice notice = begin(&told[flow]);
        struct hashes hashes = context_hashes(&context, &notice);
        well = context_enter(&context, past, &notice, &hashes);
        if (well) context_change(&context, past, told[flow].soon);
        memcpy(out[flow], past->context, sizeof *out);
    }
    context_end(&context);
    pool_end(&pasts);
    free(alive);
    return well;
}
