/* What happened before a flow: sliding windows by source, destination and pair, and link-layer bindings.
 *
 * Each flow leaves one event, linked into the lists of its three keys. A window is a suffix of such a list:
 * it has a head that only moves forward and counters that follow it, so that a flow costs O(1) amortised.
 * Distinct values need no counts: a value is in a window when its latest event is, so one entry per key and
 * value serves the three windows of that key, and an event that is no longer the latest is `superseded`.
 */
#include "native.h"

enum { FORGET_S = 300, MANY = 100, FIRST_SWEEP = 4096, BITS = 4 };

struct event {
    int64_t clock;
    uint64_t host[2]; /* hashes of the source and the destination address */
    uint32_t key[KEYS], sequence[KEYS], next[KEYS];
    uint16_t port;
    uint8_t has_port, bits, superseded, references;
};

struct window {
    uint32_t head, head_sequence;
    uint32_t ports, hosts, bits[BITS];
};

struct address {
    uint8_t bytes[16];
    uint8_t family;
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

struct binding {
    int64_t seen;
    uint32_t hash, changes, first_change, last_change;
    struct address address;
    uint8_t mac[6];
    uint8_t alive;
};

struct change {
    uint32_t next; /* first: the pool keeps its free list here */
    int64_t clock;
};

static struct event *event_at(const struct context *c, uint32_t index) { return pool_at(&c->events, index); }
static struct key *key_at(const struct context *c, uint32_t index) { return pool_at(&c->keys, index); }
static struct binding *binding_at(const struct context *c, uint32_t index) { return pool_at(&c->bindings, index); }

bool context_start(struct context *c, uint64_t seed) {
    memset(c, 0, sizeof *c);
    c->seed = seed;
    c->keys_at_sweep = c->bindings_at_sweep = FIRST_SWEEP;
    pool_start(&c->events, sizeof(struct event));
    pool_start(&c->keys, sizeof(struct key));
    pool_start(&c->bindings, sizeof(struct binding));
    pool_start(&c->changes, sizeof(struct change));
    bool started = table_start(&c->key_table);
    started &= table_start(&c->value_table);
    started &= table_start(&c->binding_table);
    return started;
}

void context_end(struct context *c) {
    pool_end(&c->events);
    pool_end(&c->keys);
    pool_end(&c->bindings);
    pool_end(&c->changes);
    table_end(&c->key_table);
    table_end(&c->value_table);
    table_end(&c->binding_table);
}

/* ---- distinct values: (key, port or host, value) -> the latest event that has it ------------------------- */

enum value_kind { PORT_VALUE, HOST_VALUE };

struct value {
    uint64_t value;
    uint32_t key;
    uint8_t by, kind;
};

static bool has_value(uint8_t by, uint8_t kind, const struct event *event) {
    return kind == PORT_VALUE ? event->has_port : by != BY_PAIR;
}

/* The host at the other end: the destination for a source, the source for a destination. */
static uint64_t value_of(const struct event *event, uint8_t by, uint8_t kind) {
    return kind == PORT_VALUE ? event->port : event->host[by == BY_SRC];
}

static uint8_t superseded_bit(uint8_t by, uint8_t kind) { return (uint8_t)(1 << (by * 2 + kind)); }

static uint32_t value_hash(const struct context *c, const struct value *v) {
    uint64_t words[2] = {v->value, (uint64_t)v->key << 8 | (uint64_t)v->by << 1 | v->kind};
    return (uint32_t)(hash_bytes(words, sizeof words, c->seed) >> 32);
}

static bool same_value(const void *owner, uint32_t index, const void *key) {
    const struct event *event = event_at(owner, index);
    const struct value *v = key;
    return event->key[v->by] == v->key && has_value(v->by, v->kind, event) && value_of(event, v->by, v->kind) == v->value &&
           !(event->superseded & superseded_bit(v->by, v->kind));
}

/* ---- windows ------------------------------------------------------------------------------------------- */

static uint32_t window_count(const struct key *key, const struct window *w) { return key->next_sequence - w->head_sequence; }

static bool in_window(const struct key *key, const struct window *w, uint32_t sequence) {
    return sequence - w->head_sequence < window_count(key, w);
}

static void leave_window(struct context *c, struct key *key, uint8_t by, struct window *w) {
    const struct event *event = event_at(c, w->head);
    w->ports -= event->has_port && !(event->superseded & superseded_bit(by, PORT_VALUE));
    w->hosts -= by != BY_PAIR && !(event->superseded & superseded_bit(by, HOST_VALUE));
    for (int bit = 0; bit < BITS; bit++) w->bits[bit] -= event->bits >> bit & 1;
    w->head_sequence++;
    w->head = w->head_sequence == key->next_sequence ? NONE : event->next[by];
}

void context_release(struct context *c, uint32_t index) {
    if (index == NONE) return;
    struct event *event = event_at(c, index);
    if (--event->references == 0) pool_give(&c->events, index);
}

/* Takes the oldest event out of its key's list: no window of this key holds it any more. */
static void drop_first(struct context *c, struct key *key, uint8_t by) {
    uint32_t index = key->first;
    struct event *event = event_at(c, index);
    for (uint8_t kind = PORT_VALUE; kind <= HOST_VALUE; kind++) {
        if (!has_value(by, kind, event) || event->superseded & superseded_bit(by, kind)) continue;
        struct value v = {.value = value_of(event, by, kind), .key = event->key[by], .by = by, .kind = kind};
        table_remove(&c->value_table, value_hash(c, &v), index);
    }
    key->first_sequence++;
    key->first = key->first_sequence == key->next_sequence ? NONE : event->next[by];
    event->key[by] = NONE;
    context_release(c, index);
}

static void advance(struct context *c, struct key *key, uint8_t by, int64_t clock) {
    static const int64_t spans[] = {[LAST_2_S] = 2 * SECOND, [LAST_60_S] = 60 * SECOND};
    for (int which = LAST_2_S; which <= LAST_60_S; which++) {
        struct window *w = &key->windows[which];
        while (w->head != NONE && clock - event_at(c, w->head)->clock > spans[which]) leave_window(c, key, by, w);
    }
    struct window *many = &key->windows[LAST_100];
    while (window_count(key, many) > MANY) leave_window(c, key, by, many);
    while (key->first != NONE && !in_window(key, &key->windows[LAST_60_S], key->first_sequence) &&
           !in_window(key, many, key->first_sequence)) {
        drop_first(c, key, by);
    }
}

/* Forgets every event of a key. */
static void empty_key(struct context *c, struct key *key, uint8_t by) {
    for (int which = 0; which < WINDOWS; which++) {
        key->windows[which] = (struct window){.head = NONE, .head_sequence = key->next_sequence};
    }
    while (key->first != NONE) drop_first(c, key, by);
}

static void sweep_keys(struct context *c, int64_t clock) {
    for (uint32_t index = 0; index < c->keys.taken; index++) {
        struct key *key = key_at(c, index);
        if (!key->alive || clock - key->touched <= FORGET_S * SECOND) continue;
        empty_key(c, key, key->identity.kind);
        table_remove(&c->key_table, key->hash, index);
        pool_give(&c->keys, index);
        c->live_keys--;
    }
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
        empty_key(c, key_at(c, index), identity->kind);
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
static bool add_value(struct context *c, struct key *key, uint32_t index, uint8_t by, uint8_t kind) {
    struct event *event = event_at(c, index);
    if (!has_value(by, kind, event)) return true;
    struct value v = {.value = value_of(event, by, kind), .key = event->key[by], .by = by, .kind = kind};
    uint32_t hash = value_hash(c, &v);
    /* The new event itself is not in the table yet, so what is found is the former latest. */
    uint32_t former = table_find(&c->value_table, hash, same_value, c, &v);
    for (int which = 0; which < WINDOWS; which++) {
        struct window *w = &key->windows[which];
        bool held = former != NONE && in_window(key, w, event_at(c, former)->sequence[by]);
        if (kind == PORT_VALUE) w->ports += !held;
        else w->hosts += !held;
    }
    if (former == NONE) return table_insert(&c->value_table, hash, index);
    event_at(c, former)->superseded |= superseded_bit(by, kind);
    table_replace(&c->value_table, hash, former, index);
    return true;
}

static bool add_event(struct context *c, uint32_t key_index, uint32_t index, uint8_t by) {
    struct key *key = key_at(c, key_index);
    struct event *event = event_at(c, index);
    event->key[by] = key_index;
    event->sequence[by] = key->next_sequence;
    if (!add_value(c, key, index, by, PORT_VALUE) || !add_value(c, key, index, by, HOST_VALUE)) return false;
    if (key->first == NONE) key->first = index;
    else event_at(c, key->last)->next[by] = index;
    key->last = index;
    key->next_sequence++;
    for (int which = 0; which < WINDOWS; which++) {
        struct window *w = &key->windows[which];
        if (w->head == NONE) w->head = index;
        for (int bit = 0; bit < BITS; bit++) w->bits[bit] += event->bits >> bit & 1;
    }
    return true;
}

uint32_t context_enter(struct context *c, struct flow_row *row, int64_t clock, uint8_t bits, bool has_port) {
    if (c->live_keys >= c->keys_at_sweep) sweep_keys(c, clock);
    struct address src, dst;
    memset(&src, 0, sizeof src);
    memset(&dst, 0, sizeof dst);
    memcpy(src.bytes, row->src, 16);
    memcpy(dst.bytes, row->dst, 16);
    src.family = dst.family = row->family;
    uint32_t index = pool_take(&c->events);
    if (index == NONE) return NONE;
    struct event *event = event_at(c, index);
    *event = (struct event){.clock = clock, .port = row->dst_port, .has_port = has_port, .bits = bits, .references = KEYS + 1};
    event->host[0] = hash_bytes(&src, sizeof src, c->seed);
    event->host[1] = hash_bytes(&dst, sizeof dst, c->seed);
    struct identity identities[KEYS];
    uint32_t keys[KEYS], hashes[KEYS];
    memset(identities, 0, sizeof identities);
    for (uint8_t by = BY_SRC; by < KEYS; by++) {
        struct identity *identity = &identities[by];
        identity->kind = by;
        identity->a = by == BY_DST ? dst : src;
        if (by == BY_PAIR) identity->b = dst;
        hashes[by] = (uint32_t)(hash_bytes(identity, sizeof *identity, c->seed) >> 32);
        table_expect(&c->key_table, hashes[by]);
    }
    for (uint8_t by = BY_SRC; by < KEYS; by++) {
        keys[by] = touch_key(c, &identities[by], hashes[by], clock);
        if (keys[by] == NONE) return NONE;
        struct key *key = key_at(c, keys[by]);
        advance(c, key, by, clock);
        read_windows(key, row->context[by]);
    }
    for (uint8_t by = BY_SRC; by < KEYS; by++) {
        if (!add_event(c, keys[by], index, by)) return NONE;
    }
    return index;
}

uint8_t context_bits(const struct context *c, uint32_t event) { return event_at(c, event)->bits; }

void context_change(struct context *c, uint32_t index, uint8_t bits) {
    struct event *event = event_at(c, index);
    if (event->bits == bits) return;
    for (int by = BY_SRC; by < KEYS; by++) {
        if (event->key[by] == NONE) continue;
        struct key *key = key_at(c, event->key[by]);
        for (int which = 0; which < WINDOWS; which++) {
            struct window *w = &key->windows[which];
            if (!in_window(key, w, event->sequence[by])) continue;
            for (int bit = 0; bit < BITS; bit++) w->bits[bit] += (uint32_t)(bits >> bit & 1) - (uint32_t)(event->bits >> bit & 1);
        }
    }
    event->bits = bits;
}

/* ---- bindings ------------------------------------------------------------------------------------------ */

static bool same_address(const void *owner, uint32_t index, const void *key) {
    return same_bytes(&binding_at(owner, index)->address, key, sizeof(struct address));
}

static struct address address_of(const uint8_t *bytes, uint8_t family) {
    struct address address;
    memset(&address, 0, sizeof address);
    memcpy(address.bytes, bytes, 16);
    address.family = family;
    return address;
}

static uint32_t find_binding(struct context *c, const struct address *address, uint32_t *hash) {
    *hash = (uint32_t)(hash_bytes(address, sizeof *address, c->seed) >> 32);
    return table_find(&c->binding_table, *hash, same_address, c, address);
}

static void forget_changes(struct context *c, struct binding *binding, int64_t before) {
    while (binding->changes) {
        struct change *change = pool_at(&c->changes, binding->first_change);
        if (change->clock >= before) return;
        uint32_t first = binding->first_change;
        binding->first_change = change->next;
        binding->changes--;
        pool_give(&c->changes, first);
    }
}

static bool add_change(struct context *c, struct binding *binding, int64_t clock) {
    uint32_t index = pool_take(&c->changes);
    if (index == NONE) return false;
    ((struct change *)pool_at(&c->changes, index))->clock = clock;
    if (binding->changes++) ((struct change *)pool_at(&c->changes, binding->last_change))->next = index;
    else binding->first_change = index;
    binding->last_change = index;
    return true;
}

static uint32_t rebinds(struct context *c, const uint8_t *bytes, uint8_t family, int64_t clock) {
    struct address address = address_of(bytes, family);
    uint32_t hash, index = find_binding(c, &address, &hash);
    if (index == NONE) return 0;
    forget_changes(c, binding_at(c, index), clock - 60 * SECOND);
    return binding_at(c, index)->changes;
}

void binding_read(struct context *c, struct flow_row *row, const uint8_t *mac, int64_t clock) {
    row->src_rebinds = rebinds(c, row->src, row->family, clock);
    row->dst_rebinds = rebinds(c, row->dst, row->family, clock);
    if (!mac) return;
    struct address address = address_of(row->src, row->family);
    uint32_t hash, index = find_binding(c, &address, &hash);
    if (index == NONE) return;
    const struct binding *binding = binding_at(c, index);
    row->mac_conflict = clock - binding->seen <= FORGET_S * SECOND && memcmp(binding->mac, mac, 6) != 0;
}

static void sweep_bindings(struct context *c, int64_t clock) {
    for (uint32_t index = 0; index < c->bindings.taken; index++) {
        struct binding *binding = binding_at(c, index);
        if (!binding->alive || clock - binding->seen <= FORGET_S * SECOND) continue;
        forget_changes(c, binding, INT64_MAX);
        table_remove(&c->binding_table, binding->hash, index);
        pool_give(&c->bindings, index);
        c->live_bindings--;
    }
    c->bindings_at_sweep = c->live_bindings * 2 > FIRST_SWEEP ? c->live_bindings * 2 : FIRST_SWEEP;
}

/* `remembered` is the caller's note of where this address was last found; it is checked, not trusted. */
bool binding_see(struct context *c, const uint8_t *bytes, uint8_t family, const uint8_t *mac, int64_t clock, uint32_t *remembered) {
    static const uint8_t nowhere[16];
    if (same_bytes(bytes, nowhere, 16) || same_bytes(mac, nowhere, 6)) return true;
    struct address address = address_of(bytes, family);
    uint32_t index = *remembered, hash;
    if (index >= c->bindings.taken || !binding_at(c, index)->alive || !same_address(c, index, &address)) {
        if (c->live_bindings >= c->bindings_at_sweep) sweep_bindings(c, clock);
        index = find_binding(c, &address, &hash);
    }
    if (index == NONE) {
        index = pool_take(&c->bindings);
        if (index == NONE || !table_insert(&c->binding_table, hash, index)) return false;
        struct binding *binding = binding_at(c, index);
        *binding = (struct binding){.seen = clock, .hash = hash, .address = address, .alive = 1};
        memcpy(binding->mac, mac, 6);
        c->live_bindings++;
    }
    *remembered = index;
    struct binding *binding = binding_at(c, index);
    if (!same_bytes(binding->mac, mac, 6)) {
        if (clock - binding->seen <= FORGET_S * SECOND) {
            forget_changes(c, binding, clock - 60 * SECOND);
            if (!add_change(c, binding, clock)) return false;
        }
        memcpy(binding->mac, mac, 6);
    }
    binding->seen = clock;
    return true;
}
