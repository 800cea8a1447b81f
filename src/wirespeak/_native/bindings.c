/* Link-layer bindings: which MAC an address was last seen at, and how often that changed. */
#include "native.h"

enum { FORGET_S = 300, WINDOW_S = 60, MOST_CHANGES = 1 << 16, BATCH = 1 << 14, FIRST_SWEEP = 4096 };

struct binding {
    int64_t seen;
    uint32_t hash, first, last, unread, length, counted; /* its changes: all, those to be read, and those in the last 60 s */
    struct address address;
    uint8_t mac[6];
    uint8_t alive;
};

struct change {
    uint32_t next; /* first: the pool keeps its free list here */
    int64_t clock;
    uint64_t at;
};

static struct binding *binding_at(const struct bindings *b, uint32_t index) { return pool_at(&b->bindings, index); }
static struct change *change_at(const struct bindings *b, uint32_t index) { return pool_at(&b->changes, index); }

bool bindings_start(struct bindings *b, uint64_t seed) {
    memset(b, 0, sizeof *b);
    b->seed = seed;
    b->at_sweep = FIRST_SWEEP;
    pool_start(&b->bindings, sizeof(struct binding));
    pool_start(&b->changes, sizeof(struct change));
    return table_start(&b->table);
}

void bindings_end(struct bindings *b) {
    pool_end(&b->bindings);
    pool_end(&b->changes);
    table_end(&b->table);
}

static uint32_t hash_of(const struct bindings *b, const struct address *address) {
    return (uint32_t)(hash_bytes(address, sizeof *address, b->seed) >> 32);
}

static bool same_address(const void *owner, uint32_t index, const void *key) {
    return same_bytes(&binding_at(owner, index)->address, key, sizeof(struct address));
}

static void drop_change(struct bindings *b, struct binding *binding) {
    uint32_t first = binding->first;
    if (binding->unread == first) binding->unread = change_at(b, first)->next;
    else binding->counted--;
    binding->first = change_at(b, first)->next;
    if (binding->first == NONE) binding->last = NONE;
    binding->length--;
    pool_give(&b->changes, first);
}

/* Forgets what no row that is still to be read can ask for. */
static void forget_changes(struct bindings *b, struct binding *binding) {
    while (binding->first != NONE) {
        const struct change *change = change_at(b, binding->first);
        bool old = change->at < b->batch_at && change->clock < b->batch_clock - WINDOW_S * SECOND;
        if (!old && binding->length <= MOST_CHANGES + BATCH) return;
        drop_change(b, binding);
    }
}

static bool add_change(struct bindings *b, struct binding *binding, int64_t clock, uint64_t at) {
    uint32_t index = pool_take(&b->changes);
    if (index == NONE) return false;
    *change_at(b, index) = (struct change){.next = NONE, .clock = clock, .at = at};
    if (binding->last == NONE) binding->first = index;
    else change_at(b, binding->last)->next = index;
    if (binding->unread == NONE) binding->unread = index;
    binding->last = index;
    binding->length++;
    return true;
}

static void sweep(struct bindings *b) {
    for (uint32_t index = 0; index < b->bindings.taken; index++) {
        struct binding *binding = binding_at(b, index);
        if (!binding->alive || b->batch_clock - binding->seen <= FORGET_S * SECOND) continue;
        while (binding->first != NONE) drop_change(b, binding);
        table_remove(&b->table, binding->hash, index);
        pool_give(&b->bindings, index);
        b->live--;
    }
    b->at_sweep = b->live * 2 > FIRST_SWEEP ? b->live * 2 : FIRST_SWEEP;
}

void bindings_begin(struct bindings *b, int64_t clock, uint64_t at) {
    b->batch_clock = clock;
    b->batch_at = at;
    if (b->live >= b->at_sweep) sweep(b);
}

bool binding_see(struct bindings *b, const struct address *address, const uint8_t *mac, int64_t clock, uint64_t at,
                 uint32_t *remembered) {
    uint32_t index = *remembered, hash = 0;
    if (index >= b->bindings.taken || !binding_at(b, index)->alive || !same_address(b, index, address)) {
        hash = hash_of(b, address);
        index = table_find(&b->table, hash, same_address, b, address);
    }
    if (index == NONE) {
        index = pool_take(&b->bindings);
        if (index == NONE || !table_insert(&b->table, hash, index)) return false;
        struct binding *binding = binding_at(b, index);
        *binding = (struct binding){.seen = clock, .hash = hash, .first = NONE, .last = NONE, .unread = NONE, .address = *address, .alive = 1};
        memcpy(binding->mac, mac, 6);
        b->live++;
    }
    *remembered = index;
    struct binding *binding = binding_at(b, index);
    if (!same_bytes(binding->mac, mac, 6)) {
        forget_changes(b, binding);
        if (clock - binding->seen <= FORGET_S * SECOND && !add_change(b, binding, clock, at)) return false;
        memcpy(binding->mac, mac, 6);
    }
    binding->seen = clock;
    return true;
}

uint32_t binding_read(struct bindings *b, const struct address *address, int64_t clock, uint64_t at, bool *changes) {
    *changes = false;
    uint32_t index = table_find(&b->table, hash_of(b, address), same_address, b, address);
    if (index == NONE) return 0;
    struct binding *binding = binding_at(b, index);
    while (binding->unread != NONE && change_at(b, binding->unread)->at < at) {
        binding->unread = change_at(b, binding->unread)->next;
        binding->counted++;
    }
    while (binding->counted && change_at(b, binding->first)->clock < clock - WINDOW_S * SECOND) drop_change(b, binding);
    *changes = binding->unread != NONE && change_at(b, binding->unread)->at == at;
    return binding->counted < MOST_CHANGES ? binding->counted : MOST_CHANGES;
}
