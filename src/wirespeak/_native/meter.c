/* Packets to flows with their context, in two stages that two threads may share.
 *
 * The first meters packets and fills a side; the second digests it: finds the context of the rows that began, and gives it to those that
 * ended. Sides are digested in the order in which they were filled, so rows are the same whoever does it and when.
 *
 * Time is the capture's clock: the largest timestamp so far, so that a packet out of order cannot revive the past.
 */
#include "flow.h"

#include <stdlib.h>

enum { FEW = 16 };

struct living {
    int64_t flow_id;
    uint32_t index;
};

struct digest {
    struct context context;
    struct past *pasts;
    size_t past_room;
    struct ended_row *ended;
    size_t ended_count, ended_room;
};

struct meter {
    _Alignas(APART) struct metering metering;
    _Alignas(APART) struct digest digest;
    struct side sides[SIDES];
    struct living *living; /* while they are ended */
    size_t living_count, living_ended;
};

/* ---- the first stage -------------------------------------------------------------------------------------- */

/* Takes a few packets at once, so that memory can be asked for before it is needed. */
static bool take_few(struct metering *m, struct ready *few, size_t count, struct view data) {
    for (size_t i = 0; i < count; i++) {
        flow_ready(m, &few[i]);
        table_expect(&m->table, few[i].hash);
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t index = table_first(&m->table, few[i].hash);
        if (index != NONE) expect_flow(m, index);
        else bindings_expect(&m->bindings, &few[i].packet);
    }
    for (size_t i = 0; i < count; i++) {
        if (!flow_take(m, &few[i], data)) return false;
    }
    return true;
}

static struct metering *begin_side(struct meter *m, uint32_t side) {
    m->metering.side = &m->sides[side % SIDES];
    m->metering.side->notice_count = m->metering.side->row_count = 0;
    m->metering.side->digested = false;
    return &m->metering;
}

/* ---- the second stage ------------------------------------------------------------------------------------- */

static struct past *past_at(struct digest *d, uint32_t index) {
    if (index >= d->past_room) {
        size_t room = d->past_room ? d->past_room : 1024;
        while (room <= index) room *= 2;
        struct past *pasts = realloc(d->pasts, room * sizeof *pasts);
        if (!pasts) return NULL;
        d->pasts = pasts;
        d->past_room = room;
    }
    return &d->pasts[index];
}

static bool make_room(struct digest *d, size_t more) {
    if (d->ended_room - d->ended_count >= more) return true;
    size_t room = d->ended_room ? d->ended_room : 1024;
    while (room - d->ended_count < more) room *= 2;
    struct ended_row *ended = realloc(d->ended, room * sizeof *ended);
    if (!ended) return false;
    d->ended = ended;
    d->ended_room = room;
    return true;
}

static void give_row(struct digest *d, const struct tally *tally, const struct past *past) {
    struct ended_row *given = &d->ended[d->ended_count++];
    memcpy(given, &tally->row, sizeof tally->row);
    measures_put(&tally->measures, given);
    memcpy(given->context, past->context, sizeof given->context);
}

static bool heed(struct digest *d, const struct side *side, const struct notice *notice, const struct hashes *hashes) {
    struct past *past = past_at(d, notice->past);
    if (!past) return false;
    switch (notice->kind) {
        case ENTERS: return context_enter(&d->context, past, notice, hashes);
        case CHANGES: context_change(&d->context, past, notice->bits); return true;
        default:
            give_row(d, &side->rows[notice->row], past);
            context_leave(&d->context, past);
            return true;
    }
}

static bool heed_few(struct digest *d, const struct side *side, const struct notice *few, size_t count) {
    struct hashes hashes[FEW];
    for (size_t i = 0; i < count; i++) {
        if (few[i].kind == ENTERS) hashes[i] = context_hashes(&d->context, &few[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (few[i].kind == ENTERS) context_expect_keys(&d->context, &hashes[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (few[i].kind == ENTERS) context_expect_events(&d->context, &hashes[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (!heed(d, side, &few[i], &hashes[i])) return false;
    }
    return true;
}

/* ---- what Python calls ---------------------------------------------------------------------------------- */

EXPORT void wirespeak_meter_end(struct meter *m) {
    if (!m) return;
    metering_end(&m->metering);
    context_end(&m->digest.context);
    for (size_t i = 0; i < m->digest.ended_count; i++) attached_free(m->digest.ended[i].attached);
    for (unsigned i = 0; i < SIDES; i++) {
        for (size_t k = 0; k < m->sides[i].row_count && !m->sides[i].digested; k++) attached_free(m->sides[i].rows[k].row.attached);
        free(m->sides[i].notices);
        free(m->sides[i].rows);
    }
    free(m->digest.pasts);
    free(m->digest.ended);
    free(m->living);
    free(m);
}

/* most: flows alive at once; first_packets: kept of each row. */
EXPORT struct meter *wirespeak_meter_start(int64_t idle_ns, int64_t active_ns, uint32_t most, uint64_t seed, uint8_t first_packets) {
    struct meter *m = aligned_alloc(_Alignof(struct meter), sizeof *m);
    if (!m) return NULL;
    memset(m, 0, sizeof *m);
    bool started = metering_start(&m->metering, idle_ns, active_ns, most, seed, first_packets);
    started &= context_start(&m->digest.context, seed, 4 * most);
    if (started) return m;
    wirespeak_meter_end(m);
    return NULL;
}

/* Meters packets whose payloads lie in `data`, into a side that was digested; false without memory, after which the meter is of no
 * use. */
EXPORT bool wirespeak_meter_push(struct meter *meter, uint32_t side, const struct packet *packets, int64_t count, const uint8_t *data,
                                 size_t size) {
    struct metering *m = begin_side(meter, side);
    struct view view = {data, size};
    struct ready few[FEW];
    for (int64_t at = 0; at < count; at += FEW) {
        size_t here = count - at < FEW ? (size_t)(count - at) : FEW;
        for (size_t i = 0; i < here; i++) few[i].packet = packets[at + (int64_t)i];
        if (!take_few(m, few, here, view)) return false;
    }
    return true;
}

/* Decodes frames and meters their packets at once, so that none leaves the cache in between; as `decode` and `meter_push`. */
EXPORT bool wirespeak_meter_frames(struct meter *meter, uint32_t side, const uint8_t *data, size_t size,
                                   const struct frame_columns *frames, uint8_t *reasons, uint16_t *details) {
    struct metering *m = begin_side(meter, side);
    struct view view = {data, size};
    struct ready few[FEW];
    size_t here = 0;
    for (int64_t i = 0; i < frames->count; i++) {
        reasons[i] = decode_packet(&few[here].packet, data, size, frames, i, &details[i]);
        here += reasons[i] == 0;
        if (here < FEW) continue;
        if (!take_few(m, few, here, view)) return false;
        here = 0;
    }
    return take_few(m, few, here, view);
}

/* Digests a side; false without memory, after which the meter is of no use. */
EXPORT bool wirespeak_meter_digest(struct meter *m, uint32_t which) {
    struct side *side = &m->sides[which % SIDES];
    if (!make_room(&m->digest, side->row_count)) return false;
    side->digested = true; /* its rows are passed on */
    for (size_t at = 0; at < side->notice_count; at += FEW) {
        size_t here = side->notice_count - at < FEW ? side->notice_count - at : FEW;
        if (!heed_few(&m->digest, side, side->notices + at, here)) return false;
    }
    return true;
}

static int by_flow_id(const void *a, const void *b) {
    const struct living *x = a, *y = b;
    return x->flow_id < y->flow_id ? -1 : x->flow_id > y->flow_id;
}

/* Lists the flows that are alive by the order in which they began. */
static bool list_living(struct meter *meter) {
    const struct metering *m = &meter->metering;
    meter->living_count = meter->living_ended = 0;
    meter->living = malloc((m->table.used + 1) * sizeof *meter->living);
    if (!meter->living) return false;
    for (const struct list *list = &m->idle; list; list = list == &m->idle ? &m->closed : NULL) {
        for (uint32_t index = list->first; index != NONE; index = flow_at(m, index)->after) {
            meter->living[meter->living_count++] = (struct living){flow_at(m, index)->tally.row.flow_id, index};
        }
    }
    qsort(meter->living, meter->living_count, sizeof *meter->living, by_flow_id);
    return true;
}

/* Ends at most `most` of the flows that are alive, those that began first, into a side that was digested; false without memory.
 * Nothing may be pushed until there are none. */
EXPORT bool wirespeak_meter_flush(struct meter *m, uint32_t side, int64_t most) {
    begin_side(m, side);
    if (!m->living && !list_living(m)) return false;
    for (; most > 0 && m->living_ended < m->living_count; most--) flow_end(&m->metering, m->living[m->living_ended++].index);
    if (m->living_ended == m->living_count) {
        free(m->living);
        m->living = NULL;
    }
    return !m->metering.out_of_memory;
}

/* How many packets are fragments of datagrams whose first fragment was not seen, flows ended and context keys forgotten for want of
 * room. */
EXPORT void wirespeak_meter_lost(const struct meter *m, int64_t *orphans, int64_t *evicted, int64_t *forgotten) {
    *orphans = m->metering.orphans;
    *evicted = m->metering.evicted;
    *forgotten = m->digest.context.forgotten;
}

/* How many flows have not ended. */
EXPORT int64_t wirespeak_meter_alive(const struct meter *m) { return m->metering.table.used; }

/* How many rows were digested and not taken yet. */
EXPORT int64_t wirespeak_meter_waiting(const struct meter *m) { return (int64_t)m->digest.ended_count; }

/* The rows that were digested since they were last taken; valid until the next digest. What hangs on them is the caller's, but for
 * those it gives back with `keep`. */
EXPORT const struct ended_row *wirespeak_meter_ended(struct meter *m, int64_t *count) {
    *count = (int64_t)m->digest.ended_count;
    m->digest.ended_count = 0;
    return m->digest.ended;
}

/* Keeps these of the rows that were just given, for the next time; they must be in their order. */
EXPORT void wirespeak_meter_keep(struct meter *m, const int64_t *rows, int64_t count) {
    struct digest *d = &m->digest;
    for (int64_t i = 0; i < count; i++) d->ended[i] = d->ended[rows[i]];
    d->ended_count = (size_t)count;
}
