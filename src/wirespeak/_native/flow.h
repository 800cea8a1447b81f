/* The flows of one share, and the worker that meters them. */
#ifndef WIRESPEAK_FLOW_H
#define WIRESPEAK_FLOW_H

#include "native.h"

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

struct flow {
    uint32_t before, after; /* neighbours in the list of idle or of closed flows */
    uint32_t hash, past;
    struct flow_key key;
    int64_t began, touched, closed_at; /* by the clock */
    int64_t syn_time, syn_ack_time;    /* raw times of the first ones, 0: none */
    struct measures measures;
    struct sequence sequence[2];
    struct history history;
    uint32_t binding[2]; /* where the addresses of both sides were last found among the bindings */
    uint8_t bits; /* enum event_bit, as last told */
    bool source_is_low, closed, answered;
    bool syn, syn_ack, source_syn_ack, established, fin[2], fin_before_reset[2];
    uint8_t reset_by; /* 0 nobody, 1 source first, 2 destination first */
    struct conversation conversation;
    struct flow_row row;
};

struct list {
    uint32_t first, last;
};

struct share {
    struct pool flows, pasts;
    struct table table;
    struct list idle, closed;
    struct fragmented *fragmented;
    uint32_t most;            /* flows alive */
    int64_t evicted, orphans; /* flows ended for want of room; fragments without their first */
    struct context context;
    struct bindings bindings;
    uint8_t number;
};

/* What happened to a row that its context and that of others depend on. */
enum notice_kind { ENTERS, CHANGES, LEAVES };
struct notice {
    uint64_t order; /* twice the packet's number; one more for what a packet tells of another flow than its own */
    uint32_t past;
    uint8_t share, kind, bits;
};

/* Meters the packets of its shares. What it says of them in `notices` is read by all workers when a batch is complete. */
struct worker {
    struct meter *meter;
    uint64_t order; /* of the packet at hand */
    int64_t clock;  /* its time: the largest so far */
    int64_t idle_ns, active_ns;
    uint64_t seed;
    struct notice *notices;
    size_t notice_count, notice_room;
    struct flow_row *ended; /* the first `complete` have their context */
    size_t ended_count, ended_room, complete;
    int64_t next_id;
    uint64_t next_packet;
    unsigned number;
    bool out_of_memory;
};

/* A packet, and where it belongs. */
struct ready {
    struct packet packet;
    struct flow_key key;
    uint64_t at;
    int64_t clock;
    struct address sighted; /* whose link-layer address it tells */
    const uint8_t *mac;     /* which one, or null where that is not for this worker to note */
    uint32_t hash, flow;    /* flow: it belongs to, once it was taken, or NONE */
    uint8_t share, sighted_share, quoted_share, side;
    bool mine, blames, src_is_low;
};

bool share_start(struct share *share, uint8_t number, uint32_t most, uint64_t seed);
void share_end(struct share *share);

static inline struct flow *flow_at(const struct share *s, uint32_t index) { return pool_at(&s->flows, index); }

/* Inside a tunnel link-layer addresses belong to other links. */
static inline const uint8_t *claimed_mac(const struct packet *p) {
    if (p->tunnel) return NULL;
    return p->protocol == ARP ? p->arp_sender_mac : p->has_src_mac ? p->src_mac : NULL;
}

void flow_ready(const struct worker *worker, struct ready *ready);                               /* finds the key and its hash */
bool flow_take(struct worker *worker, struct share *share, struct ready *ready, struct view data); /* false without memory */
void flow_blame(struct worker *worker, struct share *share, const struct packet *packet);        /* the flow an ICMP error quotes */
void flow_end(struct worker *worker, struct share *share, uint32_t index);
void flows_expire(struct worker *worker, struct share *share);                                   /* ends what ran out by the clock */

#endif
