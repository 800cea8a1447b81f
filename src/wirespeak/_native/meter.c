/* Packets to flows with their context: batches of packets, divided among workers by address.
 *
 * Every worker decodes every packet of a batch, meters those of its shares and notes which flows began, changed and ended. When all
 * have done so, each goes through the notices of all in the order of packets, for the context keys of its shares. So a flow's
 * row is the same however many workers there are.
 *
 * Time is the capture's clock: the largest timestamp so far, so that a packet out of order cannot revive the past.
 */
#define _POSIX_C_SOURCE 200112L /* barriers */
#include "flow.h"

#include <pthread.h>
#include <stdlib.h>

enum { BATCH = 1 << 14, FEW = 16, LINE = 64 };

struct living {
    int64_t flow_id;
    uint32_t index;
    uint8_t share;
};

struct meter {
    struct share shares[SHARES];
    struct worker workers[SHARES];
    unsigned worker_count;
    struct living *living; /* while they are ended */
    size_t living_count, living_ended;
};

static bool is_mine(const struct worker *w, unsigned share) { return share % w->meter->worker_count == w->number; }

/* ---- metering a batch ------------------------------------------------------------------------------------- */

static bool note_sighting(const struct worker *w, struct ready *r) {
    static const uint8_t nowhere[16];
    const struct packet *p = &r->packet;
    r->mac = claimed_mac(p);
    r->sighted_share = (uint8_t)share_of(p->src, NULL);
    if (!r->mac || same_bytes(r->mac, nowhere, 6) || same_bytes(p->src, nowhere, 16) || !is_mine(w, r->sighted_share)) {
        r->mac = NULL;
        return false;
    }
    memset(&r->sighted, 0, sizeof r->sighted);
    memcpy(r->sighted.bytes, p->src, 16);
    r->sighted.family = p->family;
    return true;
}

static bool note_blame(const struct worker *w, struct ready *r) {
    const struct packet *p = &r->packet;
    bool unreachable = (p->protocol == ICMP && p->icmp_type == 3) || (p->protocol == ICMP6 && p->icmp_type == 1);
    r->blames = unreachable && p->fragment != LATER_FRAGMENT && p->quoted_protocol != NO_PROTOCOL;
    if (!r->blames) return false;
    r->quoted_share = (uint8_t)share_of(p->quoted_src, p->quoted_dst);
    return r->blames = is_mine(w, r->quoted_share);
}

/* Says whose a packet is; false when nothing in it is for this worker. Its number is that of the packet to come. */
static bool make_ready(struct worker *w, struct ready *r) {
    const struct packet *p = &r->packet;
    if (p->time_ns > w->clock) w->clock = p->time_ns;
    r->clock = w->clock;
    r->at = w->next_packet;
    r->share = (uint8_t)share_of(p->src, p->dst);
    r->mine = is_mine(w, r->share);
    bool sights = note_sighting(w, r), blames = note_blame(w, r);
    if (r->mine) flow_ready(w, r);
    return r->mine || sights || blames;
}

static void expect(struct worker *w, const struct ready *few, size_t count) {
    struct share *shares = w->meter->shares;
    for (size_t i = 0; i < count; i++) {
        if (few[i].mine) table_expect(&shares[few[i].share].table, few[i].hash);
    }
    for (size_t i = 0; i < count; i++) {
        const struct share *s = &shares[few[i].share];
        uint32_t index = few[i].mine ? table_first(&s->table, few[i].hash) : NONE;
        if (index == NONE) continue;
        const char *flow = (const char *)flow_at(s, index);
        for (size_t at = 0; at < offsetof(struct flow, row); at += LINE) __builtin_prefetch(flow + at, 1);
    }
}

static bool take(struct worker *w, struct ready *r, struct view data) {
    struct share *shares = w->meter->shares;
    w->clock = r->clock;
    w->order = 2 * r->at;
    if (r->mine) {
        flows_expire(w, &shares[r->share]);
        if (!flow_take(w, &shares[r->share], r, data)) return false;
    }
    if (r->mac) {
        bool known = r->mine && r->flow != NONE;
        uint32_t nowhere = NONE, *remembered = known ? &flow_at(&shares[r->share], r->flow)->binding[r->side] : &nowhere;
        struct bindings *bindings = &shares[r->sighted_share].bindings;
        if (!binding_see(bindings, &r->sighted, r->mac, r->clock, r->at, remembered)) return false;
    }
    if (r->blames) {
        w->order++;
        flows_expire(w, &shares[r->quoted_share]);
        flow_blame(w, &shares[r->quoted_share], &r->packet);
    }
    return true;
}

/* Takes a few packets at once, so that memory can be asked for before it is needed. */
static bool take_few(struct worker *w, struct ready *few, size_t count, struct view data) {
    int64_t clock = w->clock;
    expect(w, few, count);
    for (size_t i = 0; i < count; i++) {
        if (!take(w, &few[i], data)) return false;
    }
    w->clock = clock;
    return true;
}

/* What is to be metered: frames to decode, or packets that were. */
struct task {
    const uint8_t *data;
    size_t size;
    const struct frame_columns *frames;
    const struct packet *packets;
    int64_t count;
    uint8_t *reasons;
    uint16_t *details;
};

/* Puts packet `i` into `r`, unless it is to be set aside. */
static bool fetch(const struct worker *w, const struct task *task, int64_t i, struct ready *r) {
    if (task->packets) {
        r->packet = task->packets[i];
        return true;
    }
    uint16_t detail = 0;
    uint8_t reason = decode_packet(&r->packet, task->data, task->size, task->frames, i, &detail);
    if (w->number == 0) {
        task->reasons[i] = reason;
        task->details[i] = detail;
    }
    return reason == 0;
}

static bool meter_batch(struct worker *w, const struct task *task, int64_t from, int64_t to) {
    struct share *shares = w->meter->shares;
    struct view data = {task->data, task->size};
    struct ready few[FEW];
    size_t here = 0;
    for (unsigned i = w->number; i < SHARES; i += w->meter->worker_count) bindings_begin(&shares[i].bindings, w->clock, w->next_packet);
    w->notice_count = 0;
    for (int64_t i = from; i < to; i++) {
        if (!fetch(w, task, i, &few[here])) continue;
        here += make_ready(w, &few[here]);
        w->next_packet++;
        if (here < FEW) continue;
        if (!take_few(w, few, here, data)) return false;
        here = 0;
    }
    if (!take_few(w, few, here, data)) return false;
    w->order = 2 * w->next_packet;
    for (unsigned i = w->number; i < SHARES; i += w->meter->worker_count) flows_expire(w, &shares[i]);
    return !w->out_of_memory;
}

/* ---- what the notices of a batch tell ---------------------------------------------------------------------- */

/* Reads the notices of all workers in the order of packets. */
struct reader {
    const struct meter *meter;
    size_t at[SHARES];
};

static const struct notice *next_notice(struct reader *reader) {
    const struct notice *first = NULL;
    unsigned from = 0;
    for (unsigned i = 0; i < reader->meter->worker_count; i++) {
        const struct worker *w = &reader->meter->workers[i];
        if (reader->at[i] == w->notice_count) continue;
        const struct notice *notice = &w->notices[reader->at[i]];
        if (first && first->order <= notice->order) continue;
        first = notice;
        from = i;
    }
    if (first) reader->at[from]++;
    return first;
}

static bool enter(struct worker *w, struct past *past) {
    struct share *shares = w->meter->shares;
    bool changes;
    for (int by = BY_SRC; by < KEYS; by++) {
        if (is_mine(w, past->share[by]) && !context_enter(&shares[past->share[by]].context, past, by)) return false;
    }
    if (is_mine(w, past->share[BY_SRC])) {
        past->src_rebinds = binding_read(&shares[past->share[BY_SRC]].bindings, &past->src, past->clock, past->at, &changes);
        past->mac_conflict = past->claims && changes;
    }
    if (is_mine(w, past->share[BY_DST])) {
        past->dst_rebinds = binding_read(&shares[past->share[BY_DST]].bindings, &past->dst, past->clock, past->at, &changes);
    }
    return true;
}

static bool heed(struct worker *w, const struct notice *notice) {
    struct share *shares = w->meter->shares;
    struct past *past = pool_at(&shares[notice->share].pasts, notice->past);
    if (notice->kind == ENTERS) {
        if (is_mine(w, notice->share)) past->flow_id = w->next_id;
        w->next_id++;
        return enter(w, past);
    }
    for (int by = BY_SRC; by < KEYS; by++) {
        if (!is_mine(w, past->share[by])) continue;
        struct context *context = &shares[past->share[by]].context;
        if (notice->kind == CHANGES) context_change(context, past, by, notice->bits);
        else context_leave(context, past, by);
    }
    return true;
}

static void expect_pasts(const struct worker *w, const struct notice *const *few, size_t count, int step) {
    const struct share *shares = w->meter->shares;
    for (size_t i = 0; i < count; i++) {
        const struct past *past = pool_at(&shares[few[i]->share].pasts, few[i]->past);
        for (int by = BY_SRC; few[i]->kind == ENTERS && by < KEYS; by++) {
            if (is_mine(w, past->share[by])) context_expect(&shares[past->share[by]].context, past, by, step);
        }
    }
}

/* Finds the context of the rows that began, for the keys of this worker. */
static bool heed_all(struct worker *w) {
    struct reader reader = {.meter = w->meter};
    const struct notice *few[FEW];
    size_t count;
    do {
        for (count = 0; count < FEW && (few[count] = next_notice(&reader)); count++) {}
        for (int step = 0; step < 2; step++) expect_pasts(w, few, count, step);
        for (size_t i = 0; i < count; i++) {
            if (!heed(w, few[i])) return false;
        }
    } while (count == FEW);
    return true;
}

/* Gives the rows that ended their context. */
static void complete_rows(struct worker *w) {
    for (; w->complete < w->ended_count; w->complete++) {
        struct flow_row *row = &w->ended[w->complete];
        struct pool *pasts = &w->meter->shares[share_of(row->src, row->dst)].pasts;
        const struct past *past = pool_at(pasts, row->past);
        row->flow_id = past->flow_id;
        row->src_rebinds = past->src_rebinds;
        row->dst_rebinds = past->dst_rebinds;
        row->mac_conflict = past->mac_conflict;
        memcpy(row->context, past->context, sizeof row->context);
        pool_give(pasts, row->past);
    }
}

/* ---- workers ---------------------------------------------------------------------------------------------- */

/* What workers meet at: held while their threads are made, which begin when all are there. */
struct meeting {
    pthread_mutex_t held;
    pthread_barrier_t barrier;
    bool cancelled;
};

struct job {
    struct worker *worker;
    const struct task *task;
    struct meeting *meeting; /* NULL: the worker is alone */
};

static void wait_for_all(const struct job *job) {
    if (job->meeting) pthread_barrier_wait(&job->meeting->barrier);
}

static void work(const struct job *job) {
    struct worker *w = job->worker;
    for (int64_t from = 0; from < job->task->count; from += BATCH) {
        int64_t to = job->task->count - from < BATCH ? job->task->count : from + BATCH;
        w->out_of_memory |= !meter_batch(w, job->task, from, to);
        wait_for_all(job);
        w->out_of_memory |= !heed_all(w);
        wait_for_all(job);
        if (!w->out_of_memory) complete_rows(w);
    }
}

static void *work_beside(void *argument) {
    const struct job *job = argument;
    pthread_mutex_lock(&job->meeting->held);
    bool cancelled = job->meeting->cancelled;
    pthread_mutex_unlock(&job->meeting->held);
    if (!cancelled) work(job);
    return NULL;
}

static bool lacks_memory(const struct meter *m) {
    bool lacks = false;
    for (unsigned i = 0; i < m->worker_count; i++) lacks |= m->workers[i].out_of_memory;
    return lacks;
}

static void work_together(struct meter *m, const struct task *task) {
    struct job jobs[SHARES];
    pthread_t threads[SHARES];
    struct meeting meeting = {.held = PTHREAD_MUTEX_INITIALIZER};
    unsigned begun = 1;
    if (pthread_barrier_init(&meeting.barrier, NULL, m->worker_count)) {
        m->workers[0].out_of_memory = true;
        return;
    }
    pthread_mutex_lock(&meeting.held);
    for (unsigned i = 0; i < m->worker_count; i++) jobs[i] = (struct job){&m->workers[i], task, &meeting};
    while (!meeting.cancelled && begun < m->worker_count) {
        if (pthread_create(&threads[begun], NULL, work_beside, &jobs[begun])) meeting.cancelled = true;
        else begun++;
    }
    pthread_mutex_unlock(&meeting.held);
    if (meeting.cancelled) m->workers[0].out_of_memory = true;
    else work(&jobs[0]);
    for (unsigned i = 1; i < begun; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&meeting.barrier);
}

/* Runs every worker; false without memory or threads, after which the meter is of no use. */
static bool run(struct meter *m, const struct task *task) {
    if (m->worker_count == 1) work(&(struct job){&m->workers[0], task, NULL});
    else work_together(m, task);
    return !lacks_memory(m);
}

/* ---- what Python calls ---------------------------------------------------------------------------------- */

EXPORT void wirespeak_meter_end(struct meter *m) {
    if (!m) return;
    for (unsigned i = 0; i < SHARES; i++) share_end(&m->shares[i]);
    for (unsigned i = 0; i < m->worker_count; i++) {
        free(m->workers[i].notices);
        free(m->workers[i].ended);
    }
    free(m->living);
    free(m);
}

/* most: flows alive at once. */
EXPORT struct meter *wirespeak_meter_start(int64_t idle_ns, int64_t active_ns, uint32_t most, uint32_t workers, uint64_t seed) {
    struct meter *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->worker_count = workers < SHARES ? workers : SHARES;
    for (unsigned i = 0; i < m->worker_count; i++) {
        m->workers[i] = (struct worker){
            .meter = m, .number = i, .idle_ns = idle_ns, .active_ns = active_ns, .seed = seed, .clock = INT64_MIN / 2,
        };
    }
    bool started = true;
    for (unsigned i = 0; i < SHARES; i++) started &= share_start(&m->shares[i], (uint8_t)i, most / SHARES + 1, seed);
    if (started) return m;
    wirespeak_meter_end(m);
    return NULL;
}

/* Takes packets whose payloads lie in `data`; false without memory, after which the meter is of no use. */
EXPORT bool wirespeak_meter_push(struct meter *m, const struct packet *packets, int64_t count, const uint8_t *data, size_t size) {
    return run(m, &(struct task){.data = data, .size = size, .packets = packets, .count = count});
}

/* Decodes frames and takes their packets at once, so that none leaves the cache in between; as `decode` and `meter_push`. */
EXPORT bool wirespeak_meter_frames(struct meter *m, const uint8_t *data, size_t size, const struct frame_columns *frames,
                                   uint8_t *reasons, uint16_t *details) {
    return run(m, &(struct task){data, size, frames, NULL, frames->count, reasons, details});
}

static int by_flow_id(const void *a, const void *b) {
    const struct living *x = a, *y = b;
    return x->flow_id < y->flow_id ? -1 : x->flow_id > y->flow_id;
}

/* Lists the flows that are alive by the order in which they began. */
static bool list_living(struct meter *m) {
    size_t count = 0;
    for (unsigned i = 0; i < SHARES; i++) count += m->shares[i].table.used;
    m->living_count = m->living_ended = 0;
    m->living = malloc((count + 1) * sizeof *m->living);
    if (!m->living) return false;
    for (unsigned i = 0; i < SHARES; i++) {
        struct share *s = &m->shares[i];
        for (const struct list *list = &s->idle; list; list = list == &s->idle ? &s->closed : NULL) {
            for (uint32_t index = list->first; index != NONE; index = flow_at(s, index)->after) {
                const struct past *past = pool_at(&s->pasts, flow_at(s, index)->past);
                m->living[m->living_count++] = (struct living){past->flow_id, index, (uint8_t)i};
            }
        }
    }
    qsort(m->living, m->living_count, sizeof *m->living, by_flow_id);
    return true;
}

/* Ends at most `most` of the flows that are alive, those that began first; false without memory. Nothing may be pushed
 * until there are none. */
EXPORT bool wirespeak_meter_flush(struct meter *m, int64_t most) {
    if (!m->living && !list_living(m)) return false;
    for (unsigned i = 0; i < m->worker_count; i++) m->workers[i].notice_count = 0;
    for (; most > 0 && m->living_ended < m->living_count; most--) {
        const struct living *living = &m->living[m->living_ended++];
        flow_end(&m->workers[living->share % m->worker_count], &m->shares[living->share], living->index);
    }
    for (unsigned i = 0; i < m->worker_count; i++) m->workers[i].out_of_memory |= !heed_all(&m->workers[i]);
    if (lacks_memory(m)) return false;
    for (unsigned i = 0; i < m->worker_count; i++) complete_rows(&m->workers[i]);
    if (m->living_ended == m->living_count) {
        free(m->living);
        m->living = NULL;
    }
    return true;
}

/* How many packets are fragments of datagrams whose first fragment was not seen, flows ended and context keys forgotten for want of
 * room. */
EXPORT void wirespeak_meter_lost(const struct meter *m, int64_t *orphans, int64_t *evicted, int64_t *forgotten) {
    *orphans = *evicted = *forgotten = 0;
    for (unsigned i = 0; i < SHARES; i++) {
        *orphans += m->shares[i].orphans;
        *evicted += m->shares[i].evicted;
        *forgotten += m->shares[i].context.forgotten;
    }
}

/* How many flows of a worker ended and were not taken yet. */
EXPORT int64_t wirespeak_meter_waiting(const struct meter *m, uint32_t worker) { return (int64_t)m->workers[worker].ended_count; }

/* The rows of flows of a worker that ended since they were last taken; valid until the next push or flush. */
EXPORT const struct flow_row *wirespeak_meter_ended(struct meter *m, uint32_t worker, int64_t *count) {
    struct worker *w = &m->workers[worker];
    *count = (int64_t)w->ended_count;
    w->ended_count = w->complete = 0;
    return w->ended;
}

/* Keeps these of the rows that were just given, for the next time; they must be in their order. */
EXPORT void wirespeak_meter_keep(struct meter *m, uint32_t worker, const int64_t *rows, int64_t count) {
    struct worker *w = &m->workers[worker];
    for (int64_t i = 0; i < count; i++) w->ended[i] = w->ended[rows[i]];
    w->ended_count = w->complete = (size_t)count;
}
