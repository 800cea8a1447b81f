/* Packets to flows: how a flow begins, goes on and ends.
 *
 * Live flows hang in two lists, idle ones by their last packet and closed TCP ones by when they closed; what has run
 * out is at their heads.
 */
#include "flow.h"

#include <stdlib.h>

enum { CLOSED_STAYS_S = 5, FRAGMENTS = 4096, FRAGMENT_STAYS_S = 30 };

bool metering_start(struct metering *m, int64_t idle_ns, int64_t active_ns, uint32_t most, uint64_t seed, uint8_t first_packets) {
    *m = (struct metering){
        .idle_ns = idle_ns, .active_ns = active_ns, .most = most, .seed = seed, .first_packets = first_packets, .clock = INT64_MIN / 2,
    };
    m->idle = m->closed = (struct list){NONE, NONE};
    pool_start(&m->flows, sizeof(struct flow));
    pool_start(&m->places, sizeof(uint32_t));
    m->fragmented = calloc(FRAGMENTS, sizeof *m->fragmented);
    bool started = m->fragmented && table_start(&m->table);
    started &= bindings_start(&m->bindings, seed);
    return started;
}

void metering_end(struct metering *m) {
    for (struct list *list = &m->idle; list; list = list == &m->idle ? &m->closed : NULL) {
        for (uint32_t index = list->first; index != NONE; index = flow_at(m, index)->after) {
            conversation_free(&flow_at(m, index)->conversation);
            attached_free(flow_at(m, index)->tally.row.attached);
        }
    }
    bindings_end(&m->bindings);
    pool_end(&m->flows);
    pool_end(&m->places);
    table_end(&m->table);
    free(m->fragmented);
}

/* ---- lists ---------------------------------------------------------------------------------------------- */

static void list_remove(struct metering *m, struct list *list, uint32_t index) {
    const struct flow *flow = flow_at(m, index);
    if (flow->before == NONE) list->first = flow->after;
    else flow_at(m, flow->before)->after = flow->after;
    if (flow->after == NONE) list->last = flow->before;
    else flow_at(m, flow->after)->before = flow->before;
}

static void list_append(struct metering *m, struct list *list, uint32_t index) {
    struct flow *flow = flow_at(m, index);
    flow->before = list->last;
    flow->after = NONE;
    if (list->last == NONE) list->first = index;
    else flow_at(m, list->last)->after = index;
    list->last = index;
}

/* ---- what is handed on ----------------------------------------------------------------------------------- */

/* Room for one more item of an array; NULL without memory, and the array stays. */
static void *one_more(void *items, size_t count, size_t *room, size_t size) {
    if (count < *room) return items;
    size_t grown = *room ? *room * 2 : 1024;
    void *moved = realloc(items, grown * size);
    if (moved) *room = grown;
    return moved;
}

static struct notice *notify(struct metering *m) {
    struct side *side = m->side;
    struct notice *notices = one_more(side->notices, side->notice_count, &side->notice_room, sizeof *notices);
    if (!notices) {
        m->out_of_memory = true;
        return NULL;
    }
    side->notices = notices;
    return &notices[side->notice_count++];
}

static void change(struct metering *m, struct flow *flow, uint8_t bits) {
    if (flow->bits == bits) return;
    flow->bits = bits;
    struct notice *notice = notify(m);
    if (notice) *notice = (struct notice){.kind = CHANGES, .bits = bits, .past = flow->past};
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
    return flow->tally.measures.packets[1] ? OTH : S0;
}

/* Computes what only the end can tell and hands the row on. */
static bool put_row(struct metering *m, struct flow *flow) {
    struct flow_row *row = &flow->tally.row;
    struct side *side = m->side;
    row->state = flow->key.protocol == TCP ? tcp_state(flow) : flow->answered ? TWO_WAY : ONE_WAY;
    row->unfinished_requests += conversation_pending(&flow->conversation);
    if (row->attached) conversation_rest(row);
    struct tally *rows = one_more(side->rows, side->row_count, &side->row_room, sizeof *rows);
    struct notice *notice = notify(m);
    if (!rows || !notice) return false;
    side->rows = rows;
    *notice = (struct notice){.kind = LEAVES, .past = flow->past, .row = (uint32_t)side->row_count};
    rows[side->row_count++] = flow->tally;
    row->attached = NULL; /* it is the ended row's now */
    pool_give(&m->places, flow->past);
    return true;
}

void flow_end(struct metering *m, uint32_t index) {
    struct flow *flow = flow_at(m, index);
    bool pending = conversation_pending(&flow->conversation);
    if (flow->after != NONE) expect_flow(m, flow->after); /* it ends soon, and was silent for as long */
    conversation_end(&flow->conversation, &flow->tally.row);
    flow->tally.row.unfinished_requests += pending;
    m->out_of_memory |= !put_row(m, flow);
    list_remove(m, flow->closed ? &m->closed : &m->idle, index);
    table_remove(&m->table, flow->hash, index);
    pool_give(&m->flows, index);
}

static void end_what_ran_out(struct metering *m) {
    while (m->idle.first != NONE && m->clock - flow_at(m, m->idle.first)->touched > m->idle_ns) flow_end(m, m->idle.first);
    while (m->closed.first != NONE && m->clock - flow_at(m, m->closed.first)->closed_at > CLOSED_STAYS_S * SECOND) {
        flow_end(m, m->closed.first);
    }
}

/* ---- finding --------------------------------------------------------------------------------------------- */

static bool same_flow(const void *owner, uint32_t index, const void *key) {
    return same_bytes(&flow_at(owner, index)->key, key, sizeof(struct flow_key));
}

static uint32_t key_hash(const struct metering *m, const struct flow_key *key) {
    return (uint32_t)(hash_bytes(key, sizeof *key, m->seed) >> 32);
}

static uint32_t find_flow(const struct metering *m, const struct flow_key *key) {
    return table_find(&m->table, key_hash(m, key), same_flow, m, key);
}

void flow_ready(const struct metering *m, struct ready *r) {
    r->src_is_low = key_of_packet(&r->key, &r->packet);
    r->hash = key_hash(m, &r->key);
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
    const struct flow_row *row = &flow->tally.row;
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

/* Starts a row at this packet. The addresses and ports of a continued flow are already there. */
static bool begin_row(struct metering *m, struct flow *flow, const struct packet *p) {
    struct flow_row *row = &flow->tally.row;
    row->flow_id = m->next_id++;
    row->first_seen = p->time_ns;
    row->tcp_flags = p->tcp_flags & (FIN | SYN | RST | PSH | ACK | URG);
    flow->began = m->clock;
    flow->bits = first_bits(flow, p);
    flow->past = pool_take(&m->places);
    bool from_source = same_bytes(p->src, row->src, 16); /* a continued flow may go on with an answer */
    binding_read(&m->bindings, row, from_source ? claimed_mac(p) : NULL, m->clock, flow->binding);
    struct notice *notice = notify(m);
    if (flow->past == NONE || !notice) return false;
    *notice = (struct notice){
        .kind = ENTERS, .clock = m->clock, .src = address_of(row->src, row->family), .dst = address_of(row->dst, row->family),
        .port = row->dst_port, .has_port = has_ports(p->protocol), .bits = flow->bits, .past = flow->past,
    };
    return true;
}

static uint32_t begin_flow(struct metering *m, const struct ready *r) {
    const struct packet *p = &r->packet;
    if (m->table.used >= m->most) {
        m->evicted++;
        flow_end(m, m->closed.first != NONE ? m->closed.first : m->idle.first);
    }
    uint32_t index = pool_take(&m->flows);
    if (index == NONE) return NONE;
    struct flow *flow = flow_at(m, index);
    struct flow_row *row = &flow->tally.row;
    flow->key = r->key;
    flow->hash = r->hash;
    flow->source_is_low = r->src_is_low;
    flow->binding[0] = flow->binding[1] = NONE;
    flow->syn_time = flow->syn_ack_time = NEVER;
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
static bool split_flow(struct metering *m, struct flow *flow, const struct packet *p) {
    if (!put_row(m, flow)) return false;
    struct flow_row *row = &flow->tally.row;
    const struct flow_row former = *row;
    memset(&flow->tally, 0, sizeof flow->tally);
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
    memset(&flow->history, 0, sizeof flow->history);
    for (int side = 0; side < 2; side++) flow->sequence[side].hole_from = flow->sequence[side].hole_to; /* it was the former row's */
    flow->syn_time = flow->syn_ack_time = NEVER;
    return begin_row(m, flow, p);
}

/* ---- a packet of a flow --------------------------------------------------------------------------------- */

static double seconds_between(int64_t former, int64_t time) { return time > former ? (double)(time - former) / 1e9 : 0; }

static void note_flags(struct flow *flow, const struct packet *p, int side) {
    struct flow_row *row = &flow->tally.row;
    uint8_t flags = p->tcp_flags;
    bool reset = flags & RST;
    if (side == 0) {
        flow->source_syn_ack |= (flags & (SYN | ACK)) == (SYN | ACK);
        if (flags & SYN && flow->syn_time == NEVER) flow->syn_time = p->time_ns;
        bool completes = flow->syn_ack && flags & ACK && !reset;
        if (completes && !flow->established && flow->syn_ack_time != NEVER) {
            row->handshake_ack_s = seconds_between(flow->syn_ack_time, p->time_ns);
        }
        flow->established |= completes;
    } else if (flags & SYN && !reset && flow->syn && !flow->syn_ack) {
        flow->syn_ack = true;
        flow->syn_ack_time = p->time_ns;
        if (flow->syn_time != NEVER) row->handshake_s = seconds_between(flow->syn_time, p->time_ns);
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
    if (h->letters < sizeof flow->tally.row.history) flow->tally.row.history[h->letters++] = side ? (char)(letter + 32) : letter;
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

/* A retransmission says nothing new, nor does the part of a segment that is one. */
static void note_payload(struct flow *flow, const struct packet *p, struct view data, int side, enum arrival arrival, uint32_t known) {
    if (p->fragment == LATER_FRAGMENT) return;
    if (p->protocol == TCP ? arrival != BEYOND : p->protocol != UDP) return;
    if (p->payload_bytes == 0 || p->payload_offset < 0) return;
    struct speech speech = {
        .payload = view_first(view_from(data, (size_t)p->payload_offset), p->payload_captured),
        .size = p->payload_bytes, .src_port = p->src_port, .dst_port = p->dst_port, .protocol = p->protocol,
        .backward = (uint8_t)side,
    };
    speech.payload = view_from(view_first(speech.payload, speech.size), known);
    speech.size -= known;
    if (speech.payload.size) conversation_hear(&flow->conversation, &flow->tally.row, &speech);
}

static void close_flow(struct metering *m, uint32_t index) {
    struct flow *flow = flow_at(m, index);
    list_remove(m, &m->idle, index);
    flow->closed = true;
    flow->closed_at = m->clock;
    list_append(m, &m->closed, index);
}

static void add_packet(struct metering *m, uint32_t index, const struct packet *p, struct view data, int side) {
    struct flow *flow = flow_at(m, index);
    measures_add(&flow->tally.measures, p, side);
    if (m->first_packets) early_keep(&flow->tally.row, p, side, m->first_packets);
    bool segment = p->protocol == TCP && p->fragment != LATER_FRAGMENT;
    uint32_t known = 0;
    enum arrival arrival = segment ? measures_segment(&flow->tally.measures, &flow->sequence[side], p, side, &known) : NOTHING_NEW;
    if (segment) note_flags(flow, p, side);
    note_history(flow, p, side, arrival);
    note_payload(flow, p, data, side, arrival, known);
    flow->answered |= side == 1;
    flow->touched = m->clock;

    uint8_t bits = flow->bits;
    if (flow->answered) bits &= (uint8_t)~BIT_UNANSWERED;
    if (flow->established) bits &= (uint8_t)~BIT_INCOMPLETE;
    if (p->tcp_flags & RST) bits |= BIT_RESET;
    if (flow->tally.row.errors) bits |= BIT_ERROR;
    change(m, flow, bits);

    if (flow->closed) return;
    if (flow->reset_by || (flow->fin[0] && flow->fin[1])) {
        close_flow(m, index);
    } else if (m->idle.last != index) {
        list_remove(m, &m->idle, index);
        list_append(m, &m->idle, index);
    }
}

static struct fragmented *fragmented_of(const struct metering *m, const struct packet *p, uint64_t *hash) {
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

static void keep_fragmented(const struct metering *m, const struct packet *p) {
    uint64_t hash;
    struct fragmented *first = fragmented_of(m, p, &hash);
    *first = (struct fragmented){hash, m->clock, p->src_port, p->dst_port, p->icmp_id, p->icmp_type};
}

/* Gives a later fragment the ports of its first; false when that was not seen. */
static bool complete_fragment(const struct metering *m, struct packet *p) {
    uint64_t hash;
    const struct fragmented *first = fragmented_of(m, p, &hash);
    if (first->hash != hash || m->clock - first->clock > FRAGMENT_STAYS_S * SECOND) return false;
    p->src_port = first->src_port;
    p->dst_port = first->dst_port;
    p->icmp_id = first->icmp_id;
    p->icmp_type = first->icmp_type;
    return true;
}

/* ---- what a packet tells of other flows ------------------------------------------------------------------- */

static void answer_arp_request(struct metering *m, const struct packet *p) {
    struct flow_key key;
    key_of_answered(&key, p);
    uint32_t index = find_flow(m, &key);
    if (index == NONE) return;
    struct flow *flow = flow_at(m, index);
    flow->answered = true;
    change(m, flow, flow->bits & (uint8_t)~BIT_UNANSWERED);
}

static void blame_quoted_flow(struct metering *m, const struct packet *p) {
    bool unreachable = p->protocol == ICMP ? p->icmp_type == 3 : p->icmp_type == 1;
    if (!unreachable || p->quoted_protocol == NO_PROTOCOL) return;
    struct flow_key key;
    key_of_quoted(&key, p);
    uint32_t index = find_flow(m, &key);
    if (index != NONE) change(m, flow_at(m, index), flow_at(m, index)->bits | BIT_ERROR);
}

static bool learn(struct metering *m, uint32_t index, const struct packet *p, int side) {
    if (p->protocol == ARP && p->arp_operation == 2) answer_arp_request(m, p);
    if (p->protocol == ICMP || p->protocol == ICMP6) blame_quoted_flow(m, p);
    const uint8_t *mac = claimed_mac(p);
    return !mac || binding_see(&m->bindings, p->src, p->family, mac, m->clock, &flow_at(m, index)->binding[side]);
}

bool flow_take(struct metering *m, struct ready *r, struct view data) {
    struct packet *p = &r->packet;
    if (p->time_ns > m->clock) m->clock = p->time_ns;
    end_what_ran_out(m);
    if (p->fragment == FIRST_FRAGMENT) keep_fragmented(m, p);
    if (p->fragment == LATER_FRAGMENT) {
        if (!complete_fragment(m, p)) {
            m->orphans++;
            return true;
        }
        flow_ready(m, r);
    }
    uint32_t index = table_find(&m->table, r->hash, same_flow, m, &r->key);
    bool opens = p->protocol == TCP && (p->tcp_flags & (SYN | ACK)) == SYN;
    if (index != NONE && opens && flow_at(m, index)->closed) {
        flow_end(m, index);
        index = NONE;
    }
    if (index == NONE) index = begin_flow(m, r);
    else if (m->clock - flow_at(m, index)->began > m->active_ns && !split_flow(m, flow_at(m, index), p)) return false;
    if (index == NONE) return false;
    int side = r->src_is_low != flow_at(m, index)->source_is_low;
    add_packet(m, index, p, data, side);
    return learn(m, index, p, side) && !m->out_of_memory;
}
