/* Packets to flows: one pass, a table of live flows, rows of the flows that ended.
 *
 * Time is the capture's clock: the largest timestamp so far, so that a packet out of order cannot revive the
 * past. Live flows hang in two lists, idle ones by their last packet and closed TCP ones by when they closed;
 * what has run out is at their heads.
 */
#include "native.h"

#include <stdlib.h>

enum { CLOSED_STAYS_S = 5, FRAGMENTS = 4096, FRAGMENT_STAYS_S = 30, FEW = 16 };

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
    uint32_t hash, event;
    struct flow_key key;
    int64_t began, touched, closed_at; /* by the clock */
    int64_t syn_time, syn_ack_time;    /* raw times of the first ones, 0: none */
    struct measures measures;
    struct sequence sequence[2];
    uint32_t binding[2];
    struct history history;
    bool source_is_low, closed, answered;
    bool syn, syn_ack, source_syn_ack, established, fin[2], fin_before_reset[2];
    uint8_t reset_by; /* 0 nobody, 1 source first, 2 destination first */
    struct conversation conversation;
    struct flow_row row;
};

struct list {
    uint32_t first, last;
};

struct living {
    int64_t flow_id;
    uint32_t index;
};

struct meter {
    struct context context;
    struct pool flows;
    struct table table;
    struct list idle, closed;
    struct flow_row *ended;
    size_t ended_count, ended_room;
    struct living *living; /* while they are ended */
    size_t living_count, living_ended;
    struct fragmented *fragmented;
    int64_t clock, idle_ns, active_ns, next_id, orphans;
    uint64_t seed;
    bool out_of_memory;
};

static struct flow *flow_at(const struct meter *m, uint32_t index) { return pool_at(&m->flows, index); }

/* ---- lists ---------------------------------------------------------------------------------------------- */

static void list_remove(struct meter *m, struct list *list, uint32_t index) {
    const struct flow *flow = flow_at(m, index);
    if (flow->before == NONE) list->first = flow->after;
    else flow_at(m, flow->before)->after = flow->after;
    if (flow->after == NONE) list->last = flow->before;
    else flow_at(m, flow->after)->before = flow->before;
}

static void list_append(struct meter *m, struct list *list, uint32_t index) {
    struct flow *flow = flow_at(m, index);
    flow->before = list->last;
    flow->after = NONE;
    if (list->last == NONE) list->first = index;
    else flow_at(m, list->last)->after = index;
    list->last = index;
}

/* ---- ending --------------------------------------------------------------------------------------------- */

static enum state tcp_state(const struct flow *flow) {
    if (!flow->syn) return flow->source_syn_ack && flow->reset_by == 2 ? RSTRH : OTH;
    if (flow->established) {
        if (flow->fin_before_reset[0] && flow->fin_before_reset[1]) return SF;
        if (flow->reset_by) return flow->reset_by == 1 ? RSTO : RSTR;
        return flow->fin[0] ? S2 : flow->fin[1] ? S3 : S1;
    }
    if (flow->syn_ack) return HALF;
    if (flow->reset_by) return flow->reset_by == 1 ? RSTOS0 : REJ;
    if (flow->fin[0]) return SH;
    return flow->row.bwd_packets ? OTH : S0;
}

/* Computes what only the end can tell and puts the row out. */
static bool put_row(struct meter *m, struct flow *flow) {
    struct flow_row *row = &flow->row;
    measures_put(&flow->measures, row);
    community_id(row);
    row->state = flow->key.protocol == TCP ? tcp_state(flow) : flow->answered ? TWO_WAY : ONE_WAY;
    row->unfinished_requests += conversation_pending(&flow->conversation);
    if (m->ended_count == m->ended_room) {
        size_t room = m->ended_room ? m->ended_room * 2 : 1024;
        struct flow_row *grown = realloc(m->ended, room * sizeof *grown);
        if (!grown) return false;
        m->ended = grown;
        m->ended_room = room;
    }
    m->ended[m->ended_count++] = *row;
    return true;
}

static void end_flow(struct meter *m, uint32_t index) {
    struct flow *flow = flow_at(m, index);
    bool pending = conversation_pending(&flow->conversation);
    conversation_end(&flow->conversation, &flow->row);
    flow->row.unfinished_requests += pending;
    m->out_of_memory |= !put_row(m, flow);
    list_remove(m, flow->closed ? &m->closed : &m->idle, index);
    table_remove(&m->table, flow->hash, index);
    context_release(&m->context, flow->event);
    pool_give(&m->flows, index);
}

static void end_what_ran_out(struct meter *m) {
    while (m->idle.first != NONE && m->clock - flow_at(m, m->idle.first)->touched > m->idle_ns) end_flow(m, m->idle.first);
    while (m->closed.first != NONE && m->clock - flow_at(m, m->closed.first)->closed_at > CLOSED_STAYS_S * SECOND) {
        end_flow(m, m->closed.first);
    }
}

/* ---- finding --------------------------------------------------------------------------------------------- */

static bool same_flow(const void *owner, uint32_t index, const void *key) {
    return same_bytes(&flow_at(owner, index)->key, key, sizeof(struct flow_key));
}

static uint32_t key_hash(const struct meter *m, const struct flow_key *key) {
    return (uint32_t)(hash_bytes(key, sizeof *key, m->seed) >> 32);
}

static uint32_t find_flow(const struct meter *m, const struct flow_key *key) {
    return table_find(&m->table, key_hash(m, key), same_flow, m, key);
}

/* ---- beginning ------------------------------------------------------------------------------------------ */

static enum operation operation_of(const struct packet *p) {
    static const uint8_t nowhere[16];
    if (p->protocol == ARP) {
        if (memcmp(p->src, p->dst, 16) == 0) return ARP_ANNOUNCE;
        if (memcmp(p->src, nowhere, 16) == 0) return ARP_PROBE;
        return p->arp_operation == 1 ? ARP_REQUEST : p->arp_operation == 2 ? ARP_REPLY : OTHER_OPERATION;
    }
    if (p->protocol == ICMP) {
        switch (p->icmp_type) {
            case 0: case 8: return ICMP_ECHO;
            case 3: return ICMP_UNREACHABLE;
            case 5: return ICMP_REDIRECT;
            case 9: case 10: return ICMP_ROUTER;
            case 11: return ICMP_EXCEEDED;
            default: return OTHER_OPERATION;
        }
    }
    if (p->protocol == ICMP6) {
        switch (p->icmp_type) {
            case 1: return ICMP_UNREACHABLE;
            case 3: return ICMP_EXCEEDED;
            case 128: case 129: return ICMP_ECHO;
            case 130: case 131: case 132: case 143: return ICMP_GROUP;
            case 133: case 134: return ICMP_ROUTER;
            case 135: case 136: return ICMP_NEIGHBOUR;
            case 137: return ICMP_REDIRECT;
            default: return OTHER_OPERATION;
        }
    }
    return NO_OPERATION;
}

static enum cast cast_of(const struct packet *p) {
    static const uint8_t everyone[6] = {255, 255, 255, 255, 255, 255};
    bool broadcast = p->has_dst_mac && memcmp(p->dst_mac, everyone, 6) == 0;
    bool multicast = p->has_dst_mac && p->dst_mac[0] & 1;
    if (p->family == 15) return p->dst[14] == 255 && p->dst[15] == 255 ? BROADCAST : UNICAST;
    if (p->protocol != ARP) {
        broadcast |= p->family == 4 && memcmp(p->dst + 12, everyone, 4) == 0;
        multicast |= p->family == 4 ? p->dst[12] >> 4 == 14 : p->dst[0] == 255;
    }
    return broadcast ? BROADCAST : multicast ? MULTICAST : UNICAST;
}

static uint8_t first_bits(const struct flow *flow, const struct packet *p) {
    const struct flow_row *row = &flow->row;
    bool expects_answer = p->protocol == ARP ? row->operation == ARP_REQUEST : row->cast == UNICAST;
    uint8_t bits = expects_answer && !flow->answered ? BIT_UNANSWERED : 0;
    if (flow->syn && !flow->established) bits |= BIT_INCOMPLETE;
    return bits;
}

/* Inside a tunnel link-layer addresses belong to other links. */
static const uint8_t *claimed_mac(const struct packet *p) {
    if (p->tunnel) return NULL;
    return p->protocol == ARP ? p->arp_sender_mac : p->has_src_mac ? p->src_mac : NULL;
}

/* Starts a row at this packet. The addresses, ports and MACs of a continued flow are already there. */
static bool begin_row(struct meter *m, struct flow *flow, const struct packet *p) {
    struct flow_row *row = &flow->row;
    row->flow_id = m->next_id++;
    row->first_seen = p->time_ns;
    row->tcp_flags = p->tcp_flags & (FIN | SYN | RST | PSH | ACK | URG);
    flow->began = m->clock;
    bool from_source = same_bytes(p->src, row->src, 16); /* a continued flow may go on with an answer */
    binding_read(&m->context, row, from_source ? claimed_mac(p) : NULL, m->clock);
    bool has_port = p->protocol == TCP || p->protocol == UDP;
    flow->event = context_enter(&m->context, row, m->clock, first_bits(flow, p), has_port);
    return flow->event != NONE;
}

static uint32_t begin_flow(struct meter *m, const struct flow_key *key, uint32_t hash, bool src_is_low, const struct packet *p) {
    uint32_t index = pool_take(&m->flows);
    if (index == NONE) return NONE;
    struct flow *flow = flow_at(m, index);
    struct flow_row *row = &flow->row;
    flow->key = *key;
    flow->hash = hash;
    flow->source_is_low = src_is_low;
    flow->binding[0] = flow->binding[1] = NONE;
    flow->syn = (p->tcp_flags & (SYN | ACK)) == SYN;
    memcpy(row->src, p->src, 16);
    memcpy(row->dst, p->dst, 16);
    memcpy(row->src_mac, p->src_mac, 6);
    memcpy(row->dst_mac, p->dst_mac, 6);
    row->src_port = p->src_port;
    row->dst_port = p->dst_port;
    row->vlan = p->vlan;
    row->protocol = p->protocol;
    row->family = p->family;
    row->tunnel = p->tunnel;
    row->tunnel_id = p->tunnel_id;
    row->icmp_type = p->icmp_type;
    row->icmp_code = p->icmp_code;
    row->has_src_mac = p->has_src_mac;
    row->has_dst_mac = p->has_dst_mac;
    row->cast = (uint8_t)cast_of(p);
    row->operation = (uint8_t)operation_of(p);
    if (!table_insert(&m->table, flow->hash, index) || !begin_row(m, flow, p)) return NONE;
    list_append(m, &m->idle, index);
    return index;
}

/* Puts out a row of a flow that goes on, and starts the next one: what was learnt of it is kept. */
static bool split_flow(struct meter *m, struct flow *flow, const struct packet *p) {
    if (!put_row(m, flow)) return false;
    const struct flow_row former = flow->row;
    struct flow_row *row = &flow->row;
    memset(row, 0, sizeof *row);
    memcpy(row->src, former.src, 16);
    memcpy(row->dst, former.dst, 16);
    memcpy(row->src_mac, former.src_mac, 6);
    memcpy(row->dst_mac, former.dst_mac, 6);
    row->src_port = former.src_port;
    row->dst_port = former.dst_port;
    row->vlan = former.vlan;
    row->protocol = former.protocol;
    row->family = former.family;
    row->tunnel = former.tunnel;
    row->tunnel_id = former.tunnel_id;
    row->icmp_type = former.icmp_type;
    row->icmp_code = former.icmp_code;
    row->has_src_mac = former.has_src_mac;
    row->has_dst_mac = former.has_dst_mac;
    row->cast = former.cast;
    row->operation = former.operation;
    row->application = former.application;
    memset(&flow->measures, 0, sizeof flow->measures);
    memset(&flow->history, 0, sizeof flow->history);
    for (int side = 0; side < 2; side++) flow->sequence[side].hole_from = flow->sequence[side].hole_to; /* it was the former row's */
    flow->syn_time = flow->syn_ack_time = 0;
    context_release(&m->context, flow->event);
    flow->event = NONE;
    return begin_row(m, flow, p);
}

/* ---- a packet of a flow --------------------------------------------------------------------------------- */

static double seconds_between(int64_t former, int64_t time) { return time > former ? (double)(time - former) / 1e9 : 0; }

static void note_flags(struct flow *flow, const struct packet *p, int side) {
    struct flow_row *row = &flow->row;
    uint8_t flags = p->tcp_flags;
    bool reset = flags & RST;
    if (side == 0) {
        flow->source_syn_ack |= (flags & (SYN | ACK)) == (SYN | ACK);
        if (flags & SYN && !flow->syn_time) flow->syn_time = p->time_ns;
        bool completes = flow->syn_ack && flags & ACK && !reset;
        if (completes && !flow->established && flow->syn_ack_time) {
            row->handshake_ack_s = seconds_between(flow->syn_ack_time, p->time_ns);
        }
        flow->established |= completes;
    } else if (flags & SYN && !reset && flow->syn && !flow->syn_ack) {
        flow->syn_ack = true;
        flow->syn_ack_time = p->time_ns;
        if (flow->syn_time) row->handshake_s = seconds_between(flow->syn_time, p->time_ns);
    }
    if (flags & FIN) flow->fin[side] = true;
    if (flags & FIN && !flow->reset_by) flow->fin_before_reset[side] = true;
    if (reset && !flow->reset_by) flow->reset_by = (uint8_t)(side + 1);
}

/* Zeek's letters: upper case for the source. Each comes once for a side; T and W again when their number is ten times as high. */
static void note_letter(struct flow *flow, char letter, int side) {
    static const char known[] = "SHAFRDQITW";
    struct history *h = &flow->history;
    uint32_t bit = 1u << (strchr(known, letter) - known);
    uint32_t *count = letter == 'T' ? &h->repeated[side] : letter == 'W' ? &h->empty_windows[side] : NULL;
    if (count) {
        uint32_t power = 1;
        for (++*count; power < *count; power *= 10) {}
        if (power != *count) return;
    } else if (h->told[side] & bit) {
        return;
    }
    h->told[side] |= bit;
    if (h->letters < sizeof flow->row.history) flow->row.history[h->letters++] = side ? (char)(letter + 32) : letter;
}

static void note_history(struct flow *flow, const struct packet *p, int side, enum arrival arrival) {
    uint8_t flags = p->tcp_flags;
    bool syn = flags & SYN, fin = flags & FIN, reset = flags & RST, ack = flags & ACK;
    if (p->fragment == LATER_FRAGMENT) return; /* without a header of its own: no window of zero */
    if (p->protocol != TCP) {
        if (p->protocol == UDP && p->payload_bytes) note_letter(flow, 'D', side);
        return;
    }
    if (syn && (fin || reset)) note_letter(flow, 'Q', side);
    else if (fin && reset) note_letter(flow, 'I', side);
    if (syn) note_letter(flow, ack ? 'H' : 'S', side);
    if (arrival == REPEATED && p->payload_bytes) note_letter(flow, 'T', side);
    if (fin) note_letter(flow, 'F', side);
    if (reset) note_letter(flow, 'R', side);
    if (p->payload_bytes) note_letter(flow, 'D', side);
    else if (ack && !syn && !fin && !reset) note_letter(flow, 'A', side);
    if (p->tcp_window == 0 && !syn && !fin && !reset) note_letter(flow, 'W', side);
}

static void note_payload(struct flow *flow, const struct packet *p, struct view data, int side, enum arrival arrival) {
    if (p->fragment == LATER_FRAGMENT) return;
    if (p->protocol == TCP ? arrival != BEYOND : p->protocol != UDP) return;
    if (p->payload_bytes == 0 || p->payload_offset < 0) return;
    struct speech speech = {
        .payload = view_first(view_from(data, (size_t)p->payload_offset), p->payload_captured),
        .size = p->payload_bytes, .src_port = p->src_port, .dst_port = p->dst_port, .protocol = p->protocol,
        .backward = (uint8_t)side,
    };
    speech.payload = view_first(speech.payload, speech.size);
    if (speech.payload.size) conversation_hear(&flow->conversation, &flow->row, &speech);
}

static void close_flow(struct meter *m, uint32_t index) {
    struct flow *flow = flow_at(m, index);
    list_remove(m, &m->idle, index);
    flow->closed = true;
    flow->closed_at = m->clock;
    list_append(m, &m->closed, index);
}

static void add_packet(struct meter *m, uint32_t index, const struct packet *p, struct view data, int side) {
    struct flow *flow = flow_at(m, index);
    measures_add(&flow->measures, p, side);
    bool segment = p->protocol == TCP && p->fragment != LATER_FRAGMENT;
    enum arrival arrival = segment ? measures_segment(&flow->measures, &flow->sequence[side], p, side) : NOTHING_NEW;
    if (segment) note_flags(flow, p, side);
    note_history(flow, p, side, arrival);
    note_payload(flow, p, data, side, arrival); /* a retransmission says nothing new */
    flow->answered |= side == 1;
    flow->touched = m->clock;

    uint8_t bits = context_bits(&m->context, flow->event);
    if (flow->answered) bits &= (uint8_t)~BIT_UNANSWERED;
    if (flow->established) bits &= (uint8_t)~BIT_INCOMPLETE;
    if (p->tcp_flags & RST) bits |= BIT_RESET;
    if (flow->row.errors) bits |= BIT_ERROR;
    context_change(&m->context, flow->event, bits);

    if (flow->closed) return;
    if (flow->reset_by || (flow->fin[0] && flow->fin[1])) {
        close_flow(m, index);
    } else if (m->idle.last != index) {
        list_remove(m, &m->idle, index);
        list_append(m, &m->idle, index);
    }
}

/* ---- what a packet tells of other flows and hosts -------------------------------------------------------- */

static void answer_arp_request(struct meter *m, const struct packet *p) {
    struct flow_key key;
    key_of_answered(&key, p);
    uint32_t index = find_flow(m, &key);
    if (index == NONE) return;
    struct flow *flow = flow_at(m, index);
    flow->answered = true;
    context_change(&m->context, flow->event, context_bits(&m->context, flow->event) & (uint8_t)~BIT_UNANSWERED);
}

static void blame_quoted_flow(struct meter *m, const struct packet *p) {
    bool unreachable = p->protocol == ICMP ? p->icmp_type == 3 : p->icmp_type == 1;
    if (!unreachable || p->quoted_protocol == NO_PROTOCOL) return;
    struct flow_key key;
    key_of_quoted(&key, p);
    uint32_t index = find_flow(m, &key);
    if (index == NONE) return;
    uint32_t event = flow_at(m, index)->event;
    context_change(&m->context, event, context_bits(&m->context, event) | BIT_ERROR);
}

static bool learn(struct meter *m, uint32_t index, const struct packet *p, int side) {
    if (p->protocol == ARP && p->arp_operation == 2) answer_arp_request(m, p);
    if (p->protocol == ICMP || p->protocol == ICMP6) blame_quoted_flow(m, p);
    const uint8_t *mac = claimed_mac(p);
    return !mac || binding_see(&m->context, p->src, p->family, mac, m->clock, &flow_at(m, index)->binding[side]);
}

/* A packet, and where it belongs. */
struct ready {
    struct packet packet;
    struct flow_key key;
    uint32_t hash;
    bool src_is_low;
};

static void make_ready(const struct meter *m, struct ready *r) {
    r->src_is_low = key_of_packet(&r->key, &r->packet);
    r->hash = key_hash(m, &r->key);
}

static bool add_to_flow(struct meter *m, const struct ready *r, struct view data) {
    const struct packet *p = &r->packet;
    bool src_is_low = r->src_is_low;
    uint32_t index = table_find(&m->table, r->hash, same_flow, m, &r->key);
    bool opens = p->protocol == TCP && (p->tcp_flags & (SYN | ACK)) == SYN;
    if (index != NONE && opens && flow_at(m, index)->closed) {
        end_flow(m, index);
        index = NONE;
    }
    if (index == NONE) index = begin_flow(m, &r->key, r->hash, src_is_low, p);
    else if (m->clock - flow_at(m, index)->began > m->active_ns && !split_flow(m, flow_at(m, index), p)) return false;
    if (index == NONE) return false;
    int side = src_is_low != flow_at(m, index)->source_is_low;
    add_packet(m, index, p, data, side);
    return learn(m, index, p, side) && !m->out_of_memory;
}

static struct fragmented *fragmented_of(struct meter *m, const struct packet *p, uint64_t *hash) {
    struct flow_key key; /* of this direction: the ports are not known yet */
    memset(&key, 0, sizeof key);
    memcpy(key.low, p->src, 16);
    memcpy(key.high, p->dst, 16);
    key.low_port = (uint16_t)p->fragment_id;
    key.high_port = (uint16_t)(p->fragment_id >> 16);
    key.vlan = p->vlan;
    key.protocol = p->protocol;
    key.family = p->family;
    key.tunnel = p->tunnel;
    key.tunnel_id = p->tunnel_id;
    *hash = hash_bytes(&key, sizeof key, 0); /* unseeded: which datagrams share a place must not change from run to run */
    return &m->fragmented[*hash % FRAGMENTS];
}

static void keep_fragmented(struct meter *m, const struct packet *p) {
    uint64_t hash;
    struct fragmented *first = fragmented_of(m, p, &hash);
    *first = (struct fragmented){hash, m->clock, p->src_port, p->dst_port, p->icmp_id, p->icmp_type};
}

/* Gives a later fragment the ports of its first; false when that was not seen. */
static bool complete_fragment(struct meter *m, struct packet *p) {
    uint64_t hash;
    const struct fragmented *first = fragmented_of(m, p, &hash);
    if (first->hash != hash || m->clock - first->clock > FRAGMENT_STAYS_S * SECOND) return false;
    p->src_port = first->src_port;
    p->dst_port = first->dst_port;
    p->icmp_id = first->icmp_id;
    p->icmp_type = first->icmp_type;
    return true;
}

static bool meter_packet(struct meter *m, struct ready *r, struct view data) {
    struct packet *p = &r->packet;
    if (p->time_ns > m->clock) m->clock = p->time_ns;
    end_what_ran_out(m);
    if (p->fragment == FIRST_FRAGMENT) keep_fragmented(m, p);
    if (p->fragment == LATER_FRAGMENT) {
        if (!complete_fragment(m, p)) {
            m->orphans++;
            return true;
        }
        make_ready(m, r);
    }
    return add_to_flow(m, r, data);
}

/* Takes a few packets at once, so that memory can be asked for before it is needed. */
static bool meter_few(struct meter *m, struct ready *few, size_t count, struct view data) {
    enum { LINE = 64 };
    for (size_t i = 0; i < count; i++) {
        make_ready(m, &few[i]);
        table_expect(&m->table, few[i].hash);
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t index = table_first(&m->table, few[i].hash);
        if (index == NONE) continue;
        const char *flow = (const char *)flow_at(m, index);
        for (size_t at = 0; at < offsetof(struct flow, row); at += LINE) __builtin_prefetch(flow + at, 1);
    }
    for (size_t i = 0; i < count; i++) {
        if (!meter_packet(m, &few[i], data)) return false;
    }
    return true;
}

/* ---- what Python calls ---------------------------------------------------------------------------------- */

EXPORT void wirespeak_meter_end(struct meter *m) {
    if (!m) return;
    for (struct list *list = &m->idle; list; list = list == &m->idle ? &m->closed : NULL) {
        for (uint32_t index = list->first; index != NONE; index = flow_at(m, index)->after) {
            free(flow_at(m, index)->conversation.text);
        }
    }
    context_end(&m->context);
    pool_end(&m->flows);
    table_end(&m->table);
    free(m->ended);
    free(m->fragmented);
    free(m->living);
    free(m);
}

EXPORT struct meter *wirespeak_meter_start(int64_t idle_ns, int64_t active_ns, uint64_t seed) {
    struct meter *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->idle_ns = idle_ns;
    m->active_ns = active_ns;
    m->seed = seed;
    m->clock = INT64_MIN / 2;
    m->idle = m->closed = (struct list){NONE, NONE};
    pool_start(&m->flows, sizeof(struct flow));
    m->fragmented = calloc(FRAGMENTS, sizeof *m->fragmented);
    bool started = m->fragmented && table_start(&m->table);
    started &= context_start(&m->context, seed);
    if (started) return m;
    wirespeak_meter_end(m);
    return NULL;
}

/* Takes packets whose payloads lie in `data`; false without memory, after which the meter is of no use. */
EXPORT bool wirespeak_meter_push(struct meter *m, const struct packet *packets, int64_t count, const uint8_t *data, size_t size) {
    struct view view = {data, size};
    struct ready few[FEW];
    for (int64_t at = 0; at < count; at += FEW) {
        size_t here = count - at < FEW ? (size_t)(count - at) : FEW;
        for (size_t i = 0; i < here; i++) few[i].packet = packets[at + (int64_t)i];
        if (!meter_few(m, few, here, view)) return false;
    }
    return true;
}

/* Decodes frames and takes their packets at once, so that none leaves the cache in between; as `decode` and `meter_push`. */
EXPORT bool wirespeak_meter_frames(struct meter *m, const uint8_t *data, size_t size, const struct frame_columns *frames,
                                   uint8_t *reasons, uint16_t *details) {
    struct view view = {data, size};
    struct ready few[FEW];
    size_t here = 0;
    for (int64_t i = 0; i < frames->count; i++) {
        reasons[i] = decode_packet(&few[here].packet, data, size, frames, i, &details[i]);
        here += reasons[i] == 0;
        if (here == FEW) {
            if (!meter_few(m, few, here, view)) return false;
            here = 0;
        }
    }
    return meter_few(m, few, here, view);
}

static int by_flow_id(const void *a, const void *b) {
    const struct living *x = a, *y = b;
    return x->flow_id < y->flow_id ? -1 : x->flow_id > y->flow_id;
}

/* Lists the flows that are alive by the order in which they began. */
static bool list_living(struct meter *m) {
    m->living_count = m->living_ended = 0;
    m->living = malloc((m->table.used + 1) * sizeof *m->living);
    if (!m->living) return false;
    for (const struct list *list = &m->idle; list; list = list == &m->idle ? &m->closed : NULL) {
        for (uint32_t index = list->first; index != NONE; index = flow_at(m, index)->after) {
            m->living[m->living_count++] = (struct living){flow_at(m, index)->row.flow_id, index};
        }
    }
    qsort(m->living, m->living_count, sizeof *m->living, by_flow_id);
    return true;
}

/* Ends at most `most` of the flows that are alive, those that began first; false without memory. Nothing may be pushed
 * until there are none. */
EXPORT bool wirespeak_meter_flush(struct meter *m, int64_t most) {
    if (!m->living && !list_living(m)) return false;
    for (; most > 0 && m->living_ended < m->living_count; most--) end_flow(m, m->living[m->living_ended++].index);
    if (m->living_ended == m->living_count) {
        free(m->living);
        m->living = NULL;
    }
    return !m->out_of_memory;
}

/* How many fragments belong to no datagram whose first fragment was seen. */
EXPORT int64_t wirespeak_meter_orphans(const struct meter *m) { return m->orphans; }

/* How many flows ended since the last call of the next function. */
EXPORT int64_t wirespeak_meter_waiting(const struct meter *m) { return (int64_t)m->ended_count; }

/* The rows of flows that ended since the last call; valid until the next push or flush. */
EXPORT const struct flow_row *wirespeak_meter_ended(struct meter *m, int64_t *count) {
    *count = (int64_t)m->ended_count;
    m->ended_count = 0;
    return m->ended;
}

/* Keeps these of the rows that were just given, for the next time; they must be in their order. */
EXPORT void wirespeak_meter_keep(struct meter *m, const int64_t *rows, int64_t count) {
    for (int64_t i = 0; i < count; i++) m->ended[i] = m->ended[rows[i]];
    m->ended_count = (size_t)count;
}
