/* What happened before a flow: sliding windows by source, destination and pair.
 *
 * Each flow leaves one event with each of its three keys, in the key's list. A window is a suffix of such a list:
 * it has a head that only moves forward and counters that follow it, so that a flow costs O(1) amortised.
 * Distinct values need no counts: a value is in a window when its latest event is, so one entry per key and
 * value serves the three windows of that key, and an event that is no longer the latest is `superseded`.
 */
#include "native.h"

enum { FORGET_S = 300, MANY = 100, MOST_IN_WINDOW = 1 << 16, FIRST_SWEEP = 4096, BITS = 4, FEW = 16 };

struct event {
    int64_t clock;
    uint64_t host; /* hash of the address at the other end */
    uint32_t key, sequence, next;
    uint16_t port;
    uint8_t has_port, bits, superseded, references;
};

struct window {
    uint32_t head, head_sequence;
    uint32_t ports, hosts, bits[BITS];
};

struct identity {
    struct address a, b; /* b only of a pair */
    uint8_t kind;
};

struct key {
    int64_t touched;
    uint32_t first, last, first_sequence, next_sequence, hash;
    struct window windows[WINDOWS];
    struct identity identity;
    uint8_t alive;
};

static struct event *event_at(const struct context *c, uint32_t index) { return pool_at(&c->events, index); }
static struct key *key_at(const struct context *c, uint32_t index) { return pool_at(&c->keys, index); }

bool context_start(struct context *c, uint64_t seed, uint32_t most) {
    memset(c, 0, sizeof *c);
    c->seed = seed;
    c->most = most;
    c->keys_at_sweep = FIRST_SWEEP;
    pool_start(&c->events, sizeof(struct event));
    pool_start(&c->keys, sizeof(struct key));
    bool started = table_start(&c->key_table);
    started &= table_start(&c->value_table);
    return started;
}

void context_end(struct context *c) {
    pool_end(&c->events);
    pool_end(&c->keys);
    table_end(&c->key_table);
    table_end(&c->value_table);
}

static struct identity identity_of(const struct notice *notice, enum context_key by) {
    struct identity identity;
    memset(&identity, 0, sizeof identity);
    identity.kind = (uint8_t)by;
    identity.a = by == BY_DST ? notice->dst : notice->src;
    if (by == BY_PAIR) identity.b = notice->dst;
    return identity;
}

/* ---- distinct values: (key, port or host, value) -> the latest event that has it ------------------------- */

struct value {
    uint64_t value;
    uint32_t key;
    enum value_kind kind;
};

static uint32_t value_hash(const struct context *c, uint32_t key_hash, enum value_kind kind, uint64_t value) {
    uint64_t words[2] = {value, (uint64_t)key_hash << 8 | kind};
    return (uint32_t)(hash_bytes(words, sizeof words, c->seed) >> 32);
}

/* The host at the other end: the destination for a source, the source for a destination. */
static uint64_t other_host(const struct hashes *hashes, enum context_key by) { return hashes->host[by == BY_SRC]; }

struct hashes context_hashes(const struct context *c, const struct notice *notice) {
    struct hashes hashes;
    hashes.host[0] = hash_bytes(&notice->src, sizeof notice->src, c->seed);
    hashes.host[1] = hash_bytes(&notice->dst, sizeof notice->dst, c->seed);
    for (int by = BY_SRC; by < KEYS; by++) {
        struct identity identity = identity_of(notice, by);
        uint32_t key = (uint32_t)(hash_bytes(&identity, sizeof identity, c->seed) >> 32);
        hashes.key[by] = key;
        hashes.value[by][PORT_VALUE] = value_hash(c, key, PORT_VALUE, notice->port);
        hashes.value[by][HOST_VALUE] = value_hash(c, key, HOST_VALUE, other_host(&hashes, by));
        table_expect(&c->key_table, key);
        table_expect(&c->value_table, hashes.value[by][PORT_VALUE]);
        if (by != BY_PAIR) table_expect(&c->value_table, hashes.value[by][HOST_VALUE]);
    }
    return hashes;
}

void context_expect_keys(const struct context *c, const struct hashes *hashes) {
    for (int by = BY_SRC; by < KEYS; by++) {
        uint32_t index = table_first(&c->key_table, hashes->key[by]);
        if (index == NONE) continue;
        const char *key = (const char *)key_at(c, index);
        for (size_t at = 0; at < sizeof(struct key); at += 64) __builtin_prefetch(key + at, 1);
    }
}

static void expect_event(const struct context *c, uint32_t index) {
    if (index != NONE) __builtin_prefetch(event_at(c, index), 1);
}

void context_expect_events(const struct context *c, const struct hashes *hashes) {
    for (int by = BY_SRC; by < KEYS; by++) {
        uint32_t index = table_first(&c->key_table, hashes->key[by]);
        if (index == NONE) continue;
        const struct key *key = key_at(c, index);
        expect_event(c, key->first);
        expect_event(c, key->last);
        for (int which = LAST_2_S; which <= LAST_60_S; which++) expect_event(c, key->windows[which].head);
    }
}

static bool has_value(const struct key *key, enum value_kind kind, const struct event *event) {
    return kind == PORT_VALUE ? event->has_port : key->identity.kind != BY_PAIR;
}

static uint64_t value_of(const struct event *event, enum value_kind kind) { return kind == PORT_VALUE ? event->port : event->host; }

static bool same_value(const void *owner, uint32_t index, const void *value) {
    const struct event *event = event_at(owner, index);
    const struct value *v = value;
    return event->key == v->key && !(event->superseded >> v->kind & 1) && has_value(key_at(owner, v->key), v->kind, event) &&
           value_of(event, v->kind) == v->value;
}

/* ---- windows ------------------------------------------------------------------------------------------- */

static uint32_t window_count(const struct key *key, const struct window *w) { return key->next_sequence - w->head_sequence; }

static bool in_window(const struct key *key, const struct window *w, uint32_t sequence) {
    return sequence - w->head_sequence < window_count(key, w);
}

static void leave_window(struct context *c, struct key *key, struct window *w) {
    const struct event *event = event_at(c, w->head);
    w->ports -= event->has_port && !(event->superseded >> PORT_VALUE & 1);
    w->hosts -= key->identity.kind != BY_PAIR && !(event->superseded >> HOST_VALUE & 1);
    for (int bit = 0; bit < BITS; bit++) w->bits[bit] -= event->bits >> bit & 1;
    w->head_sequence++;
    w->head = w->head_sequence == key->next_sequence ? NONE : event->next;
}

static void release(struct context *c, uint32_t index) {
    if (--event_at(c, index)->references == 0) pool_give(&c->events, index);
}

/* Takes the oldest event out of its key's list: no window of this key holds it any more. */
static void drop_first(struct context *c, struct key *key) {
    uint32_t index = key->first;
    struct event *event = event_at(c, index);
    for (int kind = PORT_VALUE; kind < VALUES; kind++) {
        if (!has_value(key, kind, event) || event->superseded >> kind & 1) continue;
        table_remove(&c->value_table, value_hash(c, key->hash, kind, value_of(event, kind)), index);
    }
    key->first_sequence++;
    key->first = key->first_sequence == key->next_sequence ? NONE : event->next;
    event->key = NONE;
    c->listed--;
    release(c, index);
}

static void advance(struct context *c, struct key *key, int64_t clock) {
    static const int64_t spans[] = {[LAST_2_S] = 2 * SECOND, [LAST_60_S] = 60 * SECOND};
    uint32_t half = c->most / 2, most = half < MANY ? MANY : half < MOST_IN_WINDOW ? half : MOST_IN_WINDOW;
    for (int which = LAST_2_S; which <= LAST_60_S; which++) {
        struct window *w = &key->windows[which];
        while (w->head != NONE && clock - event_at(c, w->head)->clock > spans[which]) leave_window(c, key, w);
        while (window_count(key, w) > most) leave_window(c, key, w);
    }
    struct window *many = &key->windows[LAST_100];
    while (window_count(key, many) > MANY) leave_window(c, key, many);
    while (key->first != NONE && !in_window(key, &key->windows[LAST_60_S], key->first_sequence) &&
           !in_window(key, many, key->first_sequence)) {
        drop_first(c, key);
    }
}

/* Forgets every event of a key. */
static void empty_key(struct context *c, struct key *key) {
    for (int which = 0; which < WINDOWS; which++) {
        key->windows[which] = (struct window){.head = NONE, .head_sequence = key->next_sequence};
    }
    while (key->first != NONE) drop_first(c, key);
}

static bool is_older(const struct key *key, int64_t clock, int64_t age) { return key->alive && clock - key->touched > age; }

/* Asks for the memory that forgetting these keys will need. */
static void expect_to_forget(const struct context *c, uint32_t from, uint32_t to, int64_t clock, int64_t age) {
    for (uint32_t index = from; index < to; index++) {
        const struct key *key = key_at(c, index);
        if (!is_older(key, clock, age)) continue;
        table_expect(&c->key_table, key->hash);
        expect_event(c, key->first);
    }
    for (uint32_t index = from; index < to; index++) {
        const struct key *key = key_at(c, index);
        if (!is_older(key, clock, age) || key->first == NONE) continue;
        const struct event *event = event_at(c, key->first);
        for (int kind = PORT_VALUE; kind < VALUES; kind++) {
            if (has_value(key, kind, event)) table_expect(&c->value_table, value_hash(c, key->hash, kind, value_of(event, kind)));
        }
    }
}

static void forget_older(struct context *c, int64_t clock, int64_t age) {
    for (uint32_t index = 0; index < c->keys.taken; index++) {
        if (index % FEW == 0) expect_to_forget(c, index, c->keys.taken - index < FEW ? c->keys.taken : index + FEW, clock, age);
        struct key *key = key_at(c, index);
        if (!is_older(key, clock, age)) continue;
        c->forgotten += clock - key->touched <= FORGET_S * SECOND;
        empty_key(c, key);
        table_remove(&c->key_table, key->hash, index);
        key->alive = 0;
        pool_give(&c->keys, index);
        c->live_keys--;
    }
}

static bool is_full(const struct context *c) { return c->live_keys >= c->most || c->listed >= c->most * 2; }

/* Forgets keys of 300 s ago; where there is no room even so, those of 150 s ago, and so on. */
static void sweep_keys(struct context *c, int64_t clock) {
    int64_t age = FORGET_S * SECOND;
    forget_older(c, clock, age);
    while (is_full(c) && age >= 0) forget_older(c, clock, age = age > 1 ? age / 2 : -1);
    c->keys_at_sweep = c->live_keys * 2 > FIRST_SWEEP ? c->live_keys * 2 : FIRST_SWEEP;
}

static bool same_identity(const void *owner, uint32_t index, const void *key) {
    return same_bytes(&key_at(owner, index)->identity, key, sizeof(struct identity));
}

/* The key's index, made if it is new; emptied if nothing began there for 300 s. */
static uint32_t touch_key(struct context *c, const struct identity *identity, uint32_t hash, int64_t clock) {
    uint32_t index = table_find(&c->key_table, hash, same_identity, c, identity);
    if (index == NONE) {
        index = pool_take(&c->keys);
        if (index == NONE || !table_insert(&c->key_table, hash, index)) return NONE;
        struct key *key = key_at(c, index);
        *key = (struct key){.first = NONE, .last = NONE, .hash = hash, .identity = *identity, .alive = 1};
        for (int which = 0; which < WINDOWS; which++) key->windows[which].head = NONE;
        c->live_keys++;
    } else if (clock - key_at(c, index)->touched > FORGET_S * SECOND) {
        empty_key(c, key_at(c, index));
    }
    key_at(c, index)->touched = clock;
    return index;
}

static void read_windows(const struct key *key, uint32_t out[WINDOWS][QUANTITIES]) {
    for (int which = 0; which < WINDOWS; which++) {
        const struct window *w = &key->windows[which];
        out[which][FLOWS] = window_count(key, w);
        out[which][PORTS] = w->ports;
        out[which][HOSTS] = w->hosts;
        for (int bit = 0; bit < BITS; bit++) out[which][UNANSWERED + bit] = w->bits[bit];
    }
}

/* Makes the event the latest of its value, and counts the value in the windows that did not hold it. */
static bool add_value(struct context *c, struct key *key, uint32_t index, enum value_kind kind, uint32_t hash) {
    struct event *event = event_at(c, index);
    if (!has_value(key, kind, event)) return true;
    struct value v = {.value = value_of(event, kind), .key = event->key, .kind = kind};
    /* The new event itself is not in the table yet, so what is found is the former latest. */
    uint32_t former = table_find(&c->value_table, hash, same_value, c, &v);
    for (int which = 0; which < WINDOWS; which++) {
        struct window *w = &key->windows[which];
        bool held = former != NONE && in_window(key, w, event_at(c, former)->sequence);
        if (kind == PORT_VALUE) w->ports += !held;
        else w->hosts += !held;
    }
    if (former == NONE) return table_insert(&c->value_table, hash, index);
    event_at(c, former)->superseded |= (uint8_t)(1 << kind);
    table_replace(&c->value_table, hash, former, index);
    return true;
}

static bool add_event(struct context *c, uint32_t key_index, uint32_t index, const uint32_t hashes[VALUES]) {
    struct key *key = key_at(c, key_index);
    struct event *event = event_at(c, index);
    event->key = key_index;
    event->sequence = key->next_sequence;
    for (int kind = PORT_VALUE; kind < VALUES; kind++) {
        if (!add_value(c, key, index, kind, hashes[kind])) return false;
    }
    if (key->first == NONE) key->first = index;
    else event_at(c, key->last)->next = index;
    key->last = index;
    key->next_sequence++;
    for (int which = 0; which < WINDOWS; which++) {
        struct window *w = &key->windows[which];
        if (w->head == NONE) w->head = index;
        for (int bit = 0; bit < BITS; bit++) w->bits[bit] += event->bits >> bit & 1;
    }
    return true;
}

/* Where a key is found, made if it is new, and its windows read; NONE without memory. */
static uint32_t read_key(struct context *c, struct past *past, const struct notice *notice, const struct hashes *hashes, enum context_key by) {
    struct identity identity = identity_of(notice, by);
    uint32_t key = touch_key(c, &identity, hashes->key[by], notice->clock);
    if (key == NONE) return NONE;
    advance(c, key_at(c, key), notice->clock);
    read_windows(key_at(c, key), past->context[by]);
    return key;
}

bool context_enter(struct context *c, struct past *past, const struct notice *notice, const struct hashes *hashes) {
    if (c->live_keys >= c->keys_at_sweep || is_full(c)) sweep_keys(c, notice->clock);
    for (int by = BY_SRC; by < KEYS; by++) {
        uint32_t key = read_key(c, past, notice, hashes, by), index = pool_take(&c->events);
        past->event[by] = index;
        if (key == NONE || index == NONE) return false;
        c->listed++;
        *event_at(c, index) = (struct event){
            .clock = notice->clock, .host = other_host(hashes, by), .port = notice->port, .has_port = notice->has_port,
            .bits = notice->bits, .references = 2,
        };
        if (!add_event(c, key, index, hashes->value[by])) return false;
    }
    return true;
}

static void change_event(struct context *c, struct event *event, uint8_t bits) {
    struct key *key = key_at(c, event->key);
    for (int which = 0; which < WINDOWS; which++) {
        struct window *w = &key->windows[which];
        if (!in_window(key, w, event->sequence)) continue;
        for (int bit = 0; bit < BITS; bit++) w->bits[bit] += (uint32_t)(bits >> bit & 1) - (uint32_t)(event->bits >> bit & 1);
    }
}

void context_change(struct context *c, const struct past *past, uint8_t bits) {
    for (int by = BY_SRC; by < KEYS; by++) {
        struct event *event = event_at(c, past->event[by]);
        if (event->key != NONE) change_event(c, event, bits);
        event->bits = bits;
    }
}

void context_leave(struct context *c, const struct past *past) {
    for (int by = BY_SRC; by < KEYS; by++) release(c, past->event[by]);
}
