/* Link-layer bindings: which MAC an address was last seen at, and how often that changed. */
#include "native.h"

enum { FORGET_S = 300, MOST_CHANGES = 1 << 16, FIRST_SWEEP = 4096 };

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

static struct binding *binding_at(const struct bindings *b, uint32_t index) { return pool_at(&b->bindings, index); }

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

static bool same_address(const void *owner, uint32_t index, const void *key) {
    return same_bytes(&binding_at(owner, index)->address, key, sizeof(struct address));
}

static uint32_t find_binding(struct bindings *b, const struct address *address, uint32_t *hash) {
    *hash = (uint32_t)(hash_bytes(address, sizeof *address, b->seed) >> 32);
    return table_find(&b->table, *hash, same_address, b, address);
}

static void forget_changes(struct bindings *b, struct binding *binding, int64_t before) {
    while (binding->changes) {
        const struct change *change = pool_at(&b->changes, binding->first_change);
        if (change->clock >= before && binding->changes <= MOST_CHANGES) return;
        uint32_t first = binding->first_change;
        binding->first_change = change->next;
        binding->changes--;
        pool_give(&b->changes, first);
    }
}

static bool add_change(struct bindings *b, struct binding *binding, int64_t clock) {
    uint32_t index = pool_take(&b->changes);
    if (index == NONE) return false;
    ((struct change *)pool_at(&b->changes, index))->clock = clock;
    if (binding->changes++) ((struct change *)pool_at(&b->changes, binding->last_change))->next = index;
    else binding->first_change = index;
    binding->last_change = index;
    return true;
}

static uint32_t rebinds(struct bindings *b, const uint8_t *bytes, uint8_t family, int64_t clock) {
    struct address address = address_of(bytes, family);
    uint32_t hash, index = find_binding(b, &address, &hash);
    if (index == NONE) return 0;
    forget_changes(b, binding_at(b, index), clock - 60 * SECOND);
    return binding_at(b, index)->changes;
}

void binding_read(struct bindings *b, struct flow_row *row, const uint8_t *mac, int64_t clock) {
    row->src_rebinds = rebinds(b, row->src, row->family, clock);
    row->dst_rebinds = rebinds(b, row->dst, row->family, clock);
    if (!mac) return;
    struct address address = address_of(row->src, row->family);
    uint32_t hash, index = find_binding(b, &address, &hash);
    if (index == NONE) return;
    const struct binding *binding = binding_at(b, index);
    row->mac_conflict = clock - binding->seen <= FORGET_S * SECOND && memcmp(binding->mac, mac, 6) != 0;
}

static void sweep_bindings(struct bindings *b, int64_t clock) {
    for (uint32_t index = 0; index < b->bindings.taken; index++) {
        struct binding *binding = binding_at(b, index);
        if (!binding->alive || clock - binding->seen <= FORGET_S * SECOND) continue;
        forget_changes(b, binding, INT64_MAX);
        table_remove(&b->table, binding->hash, index);
        pool_give(&b->bindings, index);
        b->live--;
    }
    b->at_sweep = b->live * 2 > FIRST_SWEEP ? b->live * 2 : FIRST_SWEEP;
}

bool binding_see(struct bindings *b, const uint8_t *bytes, uint8_t family, const uint8_t *mac, int64_t clock, uint32_t *remembered) {
    static const uint8_t nowhere[16];
    if (same_bytes(bytes, nowhere, 16) || same_bytes(mac, nowhere, 6)) return true;
    struct address address = address_of(bytes, family);
    uint32_t index = *remembered, hash;
    if (index >= b->bindings.taken || !binding_at(b, index)->alive || !same_address(b, index, &address)) {
        if (b->live >= b->at_sweep) sweep_bindings(b, clock);
        index = find_binding(b, &address, &hash);
    }
    if (index == NONE) {
        index = pool_take(&b->bindings);
        if (index == NONE || !table_insert(&b->table, hash, index)) return false;
        struct binding *binding = binding_at(b, index);
        *binding = (struct binding){.seen = clock, .hash = hash, .address = address, .alive = 1};
        memcpy(binding->mac, mac, 6);
        b->live++;
    }
    *remembered = index;
    struct binding *binding = binding_at(b, index);
    if (!same_bytes(binding->mac, mac, 6)) {
        if (clock - binding->seen <= FORGET_S * SECOND) {
            forget_changes(b, binding, clock - 60 * SECOND);
            if (!add_change(b, binding, clock)) return false;
        }
        memcpy(binding->mac, mac, 6);
    }
    binding->seen = clock;
    return true;
}
