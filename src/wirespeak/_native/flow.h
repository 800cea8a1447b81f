/* Flows that are alive, and what is handed on when they change and end. */
#ifndef WIRESPEAK_FLOW_H
#define WIRESPEAK_FLOW_H

#include "native.h"

#define NEVER INT64_MIN

/* A datagram whose first fragment was seen: what the later ones lack (RFC 791: they belong together by addresses,
 * protocol and identification). A newer one may take its place. */
struct fragmented {
    uint64_t hash;
    int64_t clock;
    uint16_t src_port, dst_port, icmp_id;
    uint8_t icmp_type;
};

/* What a row's `history` tells already: letters of each side, how often those that repeat came, and letters in all. */
struct history {
    uint32_t told[2], repeated[2], empty_windows[2];
    uint8_t letters;
};

/* What is told of a flow when it ends. */
struct tally {
    struct measures measures;
    struct flow_row row;
};

struct flow {
    struct flow_key key;
    uint32_t hash, before, after; /* neighbours in the list of idle or of closed flows */
    int64_t began, touched, closed_at; /* by the clock */
    int64_t syn_time, syn_ack_time;    /* raw times of the first ones */
    uint32_t past;
    uint32_t binding[2]; /* where the addresses of both sides were last found */
    uint8_t bits; /* enum event_bit, as last told */
    bool source_is_low, closed, answered;
    bool syn, syn_ack, source_syn_ack, established, fin[2], fin_before_reset[2];
    uint8_t reset_by; /* 0 nobody, 1 source first, 2 destination first */
    struct sequence sequence[2];
    struct history history;
    struct conversation conversation;
    struct tally tally;
};

struct list {
    uint32_t first, last;
};

enum { SIDES = 16, APART = 128, LINE = 64 };

/* What metering some packets gave, until it is digested: what happened in their order, and the rows that ended, without context. */
struct side {
    struct notice *notices;
    struct tally *rows;
    size_t notice_count, notice_room, row_count, row_room;
    bool digested;
};

/* Flows alive, and what is known of their hosts. One thread meters, another may digest what was metered before: the two share
 * nothing but sides, each of which is one's or the other's. */
struct metering {
    struct side *side; /* the one at hand */
    struct pool flows, places; /* places: numbers for the pasts that `digest` keeps */
    struct table table;
    struct list idle, closed;
    struct bindings bindings;
    struct fragmented *fragmented;
    int64_t clock, idle_ns, active_ns, next_id;
    int64_t evicted, orphans; /* flows ended for want of room; fragments without their first */
    uint64_t seed;
    uint32_t most; /* flows alive */
    uint8_t first_packets; /* kept of each row */
    bool out_of_memory;
};

/* A packet, and where it belongs. */
struct ready {
    struct packet packet;
    struct flow_key key;
    uint32_t hash;
    bool src_is_low;
};

bool metering_start(struct metering *metering, int64_t idle_ns, int64_t active_ns, uint32_t most, uint64_t seed, uint8_t first_packets);
void metering_end(struct metering *metering);

static inline struct flow *flow_at(const struct metering *m, uint32_t index) { return pool_at(&m->flows, index); }

/* Asks for a flow's memory before it is needed. */
static inline void expect_flow(const struct metering *m, uint32_t index) {
    const char *flow = (const char *)flow_at(m, index);
    for (size_t at = 0; at < sizeof(struct flow); at += LINE) __builtin_prefetch(flow + at, 1);
}

void flow_ready(const struct metering *metering, struct ready *ready);                   /* finds the key and its hash */
bool flow_take(struct metering *metering, struct ready *ready, struct view data);        /* false without memory */
void flow_end(struct metering *metering, uint32_t index);

#endif
