/* What is measured of a flow's packets, by direction: sizes, gaps, flags, activity, and the order of TCP's bytes. */
#include "native.h"

#include <math.h>

enum { IDLE_AFTER_S = 5 }; /* CICFlowMeter's threshold between activity and idleness */

static double seconds(int64_t ns) { return (double)ns / 1e9; }

static void add_size(struct sizes *sizes, int64_t before, uint32_t size) {
    if (before == 0 || size < sizes->least) sizes->least = size;
    if (size > sizes->most) sizes->most = size;
    sizes->sum += size;
    sizes->squares += (uint64_t)size * size;
}

/* The population's standard deviation of `count` sizes: exact until the root. */
static double deviation(unsigned __int128 squares, uint64_t sum, int64_t count) {
    if (count == 0) return 0;
    unsigned __int128 spread = (unsigned __int128)count * squares - (unsigned __int128)sum * sum;
    return sqrt((double)(uint64_t)(spread >> 64) * 0x1p64 + (double)(uint64_t)spread) / (double)count;
}

static void add_span(struct spans *spans, double span) {
    double from_mean = span - spans->mean;
    if (spans->count++ == 0 || span < spans->least) spans->least = span;
    if (span > spans->most) spans->most = span;
    spans->sum += span;
    spans->mean += from_mean / (double)spans->count;
    spans->spread += from_mean * (span - spans->mean);
}

static double mean_of(const struct spans *spans) { return spans->count ? spans->sum / (double)spans->count : 0; }
static double deviation_of(const struct spans *spans) { return spans->count ? sqrt(spans->spread / (double)spans->count) : 0; }

static double gap_after(int64_t time, int64_t former) { return time > former ? seconds(time - former) : 0; }

static void add_times(struct measures *m, const struct packet *p, int side) {
    bool first = m->packets[0] + m->packets[1] == 0;
    if (first) {
        m->active_since = m->last_seen = p->time_ns;
    } else {
        double gap = gap_after(p->time_ns, m->last_seen);
        add_span(&m->gap, gap);
        if (gap > IDLE_AFTER_S) {
            if (m->last_seen > m->active_since) add_span(&m->active, seconds(m->last_seen - m->active_since));
            add_span(&m->idle, gap);
            m->active_since = p->time_ns;
        }
    }
    if (p->time_ns > m->last_seen) m->last_seen = p->time_ns;
    if (m->packets[side]) add_span(&m->side_gap[side], gap_after(p->time_ns, m->seen[side]));
    if (!m->packets[side] || p->time_ns > m->seen[side]) m->seen[side] = p->time_ns;
}

void measures_add(struct measures *m, const struct packet *p, int side) {
    add_times(m, p, side);
    int64_t before = m->packets[side]++;
    uint32_t header = p->network_bytes > p->payload_bytes ? p->network_bytes - p->payload_bytes : 0;
    add_size(&m->packet[side], before, p->network_bytes);
    add_size(&m->payload[side], before, p->payload_bytes);
    m->payload_packets[side] += p->payload_bytes > 0;
    if (before == 0 || header < m->header_least[side]) m->header_least[side] = header;
    if (header > m->header_most[side]) m->header_most[side] = header;
    if (before == 0) m->ttl[side] = p->ttl;
    if (p->protocol != TCP) return;
    if (before == 0) m->window[side] = p->tcp_window;
    for (int flag = 0; flag < FLAGS; flag++) m->flags[side][flag] += p->tcp_flags >> flag & 1;
}

static int32_t distance(uint32_t from, uint32_t to) { return (int32_t)(to - from); }

enum arrival measures_segment(struct measures *m, struct sequence *s, const struct packet *p, int side, uint32_t *known) {
    bool opens = p->tcp_flags & SYN;
    uint32_t start = p->tcp_sequence, size = p->payload_bytes + opens + ((p->tcp_flags & FIN) != 0), end = start + size;
    *known = 0;
    if (!s->known || (opens && !(s->opened && start == s->opened_at))) { /* another SYN begins other numbers */
        *s = (struct sequence){.next = end, .known = true, .opened = opens, .opened_at = start};
        return BEYOND;
    }
    if (p->tcp_flags & RST && p->payload_bytes == 0) return NOTHING_NEW; /* its number need not follow */
    int32_t ahead = distance(s->next, start), again = distance(start + opens, s->next);
    if (again > 0) *known = (uint32_t)again < p->payload_bytes ? (uint32_t)again : p->payload_bytes;
    enum arrival arrival = distance(s->next, end) > 0 ? BEYOND : NOTHING_NEW;
    if (ahead > 0) {
        m->missed[side] += ahead;
        s->hole_from = s->next;
        s->hole_to = start;
    } else if (ahead < 0 && size) {
        bool in_hole = distance(s->hole_from, start) >= 0 && distance(start, s->hole_to) > 0;
        if (in_hole) {
            uint32_t filled = distance(end, s->hole_to) < 0 ? s->hole_to - start : size;
            m->out_of_order[side]++;
            m->missed[side] -= filled;
            if (start == s->hole_from) s->hole_from += filled;
            else s->hole_to = start; /* what is left behind it stays missed */
        } else {
            m->retransmitted[side]++;
            if (arrival != BEYOND) arrival = REPEATED;
        }
    }
    if (arrival == BEYOND) s->next = end;
    return arrival;
}

#define PUT_BOTH_WAYS(name, value)      \
    do {                                \
        enum { FORWARD, BACKWARD };     \
        int side = FORWARD;             \
        row->fwd_##name = (value);      \
        side = BACKWARD;                \
        row->bwd_##name = (value);      \
    } while (0)

static void put_spans(const struct spans *spans, double *mean, double *std, double *least, double *most) {
    *mean = mean_of(spans);
    *std = deviation_of(spans);
    *least = spans->least;
    *most = spans->most;
}

void measures_put(const struct measures *m, struct ended_row *row) {
    row->last_seen = m->last_seen;
    PUT_BOTH_WAYS(packets, m->packets[side]);
    PUT_BOTH_WAYS(bytes, (int64_t)m->packet[side].sum);
    PUT_BOTH_WAYS(payload_bytes, (int64_t)m->payload[side].sum);
    PUT_BOTH_WAYS(payload_min_bytes, m->payload[side].least);
    PUT_BOTH_WAYS(payload_max_bytes, m->payload[side].most);
    PUT_BOTH_WAYS(payload_std_bytes, deviation(m->payload[side].squares, m->payload[side].sum, m->packets[side]));
    PUT_BOTH_WAYS(payload_packets, m->payload_packets[side]);
    PUT_BOTH_WAYS(packet_min_bytes, m->packet[side].least);
    PUT_BOTH_WAYS(packet_max_bytes, m->packet[side].most);
    PUT_BOTH_WAYS(packet_std_bytes, deviation(m->packet[side].squares, m->packet[side].sum, m->packets[side]));
    PUT_BOTH_WAYS(header_min_bytes, m->header_least[side]);
    PUT_BOTH_WAYS(header_max_bytes, m->header_most[side]);
    int64_t packets = m->packets[0] + m->packets[1];
    const struct sizes *packet = m->packet, *payload = m->payload;
    row->payload_std_bytes = deviation(payload[0].squares + payload[1].squares, payload[0].sum + payload[1].sum, packets);
    row->packet_std_bytes = deviation(packet[0].squares + packet[1].squares, packet[0].sum + packet[1].sum, packets);

    put_spans(&m->gap, &row->iat_mean_s, &row->iat_std_s, &row->iat_min_s, &row->iat_max_s);
    put_spans(&m->side_gap[0], &row->fwd_iat_mean_s, &row->fwd_iat_std_s, &row->fwd_iat_min_s, &row->fwd_iat_max_s);
    put_spans(&m->side_gap[1], &row->bwd_iat_mean_s, &row->bwd_iat_std_s, &row->bwd_iat_min_s, &row->bwd_iat_max_s);
    struct spans active = m->active; /* the last period ends with the flow */
    if (m->last_seen > m->active_since) add_span(&active, seconds(m->last_seen - m->active_since));
    put_spans(&active, &row->active_mean_s, &row->active_std_s, &row->active_min_s, &row->active_max_s);
    put_spans(&m->idle, &row->idle_mean_s, &row->idle_std_s, &row->idle_min_s, &row->idle_max_s);

    PUT_BOTH_WAYS(fin_packets, m->flags[side][0]);
    PUT_BOTH_WAYS(syn_packets, m->flags[side][1]);
    PUT_BOTH_WAYS(rst_packets, m->flags[side][2]);
    PUT_BOTH_WAYS(push_packets, m->flags[side][3]);
    PUT_BOTH_WAYS(ack_packets, m->flags[side][4]);
    PUT_BOTH_WAYS(urg_packets, m->flags[side][5]);
    PUT_BOTH_WAYS(ece_packets, m->flags[side][6]);
    PUT_BOTH_WAYS(cwr_packets, m->flags[side][7]);
    PUT_BOTH_WAYS(ttl, m->ttl[side]);
    PUT_BOTH_WAYS(window_bytes, m->window[side]);
    PUT_BOTH_WAYS(retransmitted_packets, m->retransmitted[side]);
    PUT_BOTH_WAYS(out_of_order_packets, m->out_of_order[side]);
    PUT_BOTH_WAYS(missed_bytes, m->missed[side]);
}
