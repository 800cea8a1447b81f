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

static uint32_t address_hash(const struct bindings *b, const struct address *address) {
    return (uint32_t)(hash_bytes(address, sizeof *address, b->seed) >> 32);
}

void bindings_expect(const struct bindings *b, const struct packet *p) {
    for (int side = 0; side < 2; side++) {
        struct address address = address_of(side ? p->dst : p->src, p->family);
        table_expect(&b->table, address_hash(b, &address));
    }
}

/* Where an address is bound, NULL where it is not. */
static struct binding *find_binding(struct bindings *b, const struct address *address, uint32_t *remembered) {
    uint32_t index = *remembered;
    bool found = index < b->bindings.taken && binding_at(b, index)->alive && same_address(b, index, address);
    if (!found) *remembered = table_find(&b->table, address_hash(b, address), same_address, b, address);
    return *remembered == NONE ? NULL : binding_at(b, *remembered);
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

static uint32_t rebinds(struct bindings *b, struct binding *binding, int64_t clock) {
    if (!binding) return 0;
    forget_changes(b, binding, clock - 60 * SECOND);
    return binding->changes;
}

void binding_read(struct bindings *b, struct flow_row *row, const uint8_t *mac, int64_t clock, uint32_t remembered[2]) {
    struct address ends[2] = {address_of(row->src, row->family), address_of(row->dst, row->family)};
    struct binding *src = find_binding(b, &ends[0], &remembered[0]);
    row->src_rebinds = rebinds(b, src, clock);
    row->dst_rebinds = rebinds(b, find_binding(b, &ends[1], &remembered[1]), clock);
    row->mac_conflict = src && mac && clock - src->seen <= FORGET_S * SECOND && memcmp(src->mac, mac, 6) != 0;
}

static void sweep_bindings(struct bindings *b, int64_t clock) {
    for (uint32_t index = 0; index < b->bindings.taken; index++) {
        struct binding *binding = binding_at(b, index);
        if (!binding->alive || clock - binding->seen <= FORGET_S * SECOND) continue;
        forget_changes(b, binding, INT64_MAX);
        table_remove(&b->table, binding->hash, index);
        binding->alive = 0;
        pool_give(&b->bindings, index);
        b->live--;
    }
    b->at_sweep = b->live * 2 > FIRST_SWEEP ? b->live * 2 : FIRST_SWEEP;
}

bool binding_see(struct bindings *b, const uint8_t *bytes, uint8_t family, const uint8_t *mac, int64_t clock, uint32_t *remembered) {
    static const uint8_t nowhere[16];
    if (same_bytes(bytes, nowhere, 16) || same_bytes(mac, nowhere, 6)) return true;
    struct address address = address_of(bytes, family);
    struct binding *binding = find_binding(b, &address, remembered);
    if (!binding) {
        if (b->live >= b->at_sweep) sweep_bindings(b, clock);
        uint32_t hash = address_hash(b, &address), index = pool_take(&b->bindings);
        if (index == NONE || !table_insert(&b->table, hash, index)) return false;
        binding = binding_at(b, *remembered = index);
        *binding = (struct binding){.seen = clock, .hash = hash, .address = address, .alive = 1};
        memcpy(binding->mac, mac, 6);
        b->live++;
    }
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
