/* Pools, hash tables and hashing: the only memory the native part grows. */
#include "native.h"

#include <stdlib.h>

void pool_start(struct pool *pool, size_t item_size) {
    *pool = (struct pool){.item_size = item_size, .first_free = NONE};
}

void pool_end(struct pool *pool) {
    free(pool->items);
    pool->items = NULL;
}

uint32_t pool_take(struct pool *pool) {
    uint32_t index = pool->first_free;
    if (index != NONE) {
        memcpy(&pool->first_free, pool_at(pool, index), sizeof pool->first_free);
    } else {
        if (pool->taken == pool->capacity) {
            if (pool->capacity >= NONE / 2) return NONE;
            uint32_t capacity = pool->capacity ? pool->capacity * 2 : 256;
            uint8_t *items = realloc(pool->items, (size_t)capacity * pool->item_size);
            if (!items) return NONE;
            pool->items = items;
            pool->capacity = capacity;
        }
        index = pool->taken++;
    }
    memset(pool_at(pool, index), 0, pool->item_size);
    return index;
}

void pool_give(struct pool *pool, uint32_t index) {
    memcpy(pool_at(pool, index), &pool->first_free, sizeof pool->first_free);
    pool->first_free = index;
}

bool table_start(struct table *table) {
    *table = (struct table){.mask = 255};
    table->slots = calloc((size_t)table->mask + 1, sizeof *table->slots);
    return table->slots != NULL;
}

void table_end(struct table *table) {
    free(table->slots);
    table->slots = NULL;
}

static inline uint32_t slot_hash(uint64_t slot) { return (uint32_t)(slot >> 32); }
static inline uint32_t slot_index(uint64_t slot) { return (uint32_t)slot - 1; }
static inline uint64_t slot_of(uint32_t hash, uint32_t index) { return (uint64_t)hash << 32 | (index + 1); }

uint32_t table_find(const struct table *table, uint32_t hash, same_key same, const void *owner, const void *key) {
    for (uint32_t at = hash & table->mask; table->slots[at]; at = (at + 1) & table->mask) {
        uint64_t slot = table->slots[at];
        if (slot_hash(slot) == hash && same(owner, slot_index(slot), key)) return slot_index(slot);
    }
    return NONE;
}

static void place(uint64_t *slots, uint32_t mask, uint64_t slot) {
    uint32_t at = slot_hash(slot) & mask;
    while (slots[at]) at = (at + 1) & mask;
    slots[at] = slot;
}

static bool table_grow(struct table *table) {
    if (table->mask >= UINT32_MAX / 2) return false;
    uint32_t mask = table->mask * 2 + 1;
    uint64_t *slots = calloc((size_t)mask + 1, sizeof *slots);
    if (!slots) return false;
    for (size_t at = 0; at <= table->mask; at++) {
        if (table->slots[at]) place(slots, mask, table->slots[at]);
    }
    free(table->slots);
    table->slots = slots;
    table->mask = mask;
    return true;
}

bool table_insert(struct table *table, uint32_t hash, uint32_t index) {
    if (table->used >= table->mask / 2 && !table_grow(table)) return false;
    place(table->slots, table->mask, slot_of(hash, index));
    table->used++;
    return true;
}

static uint32_t slot_position(const struct table *table, uint32_t hash, uint32_t index) {
    for (uint32_t at = hash & table->mask; table->slots[at]; at = (at + 1) & table->mask) {
        if (table->slots[at] == slot_of(hash, index)) return at;
    }
    return NONE;
}

void table_replace(struct table *table, uint32_t hash, uint32_t from, uint32_t to) {
    uint32_t at = slot_position(table, hash, from);
    if (at != NONE) table->slots[at] = slot_of(hash, to);
}

void table_remove(struct table *table, uint32_t hash, uint32_t index) {
    uint32_t hole = slot_position(table, hash, index);
    if (hole == NONE) return;
    /* Close the gap (Knuth, volume 3, algorithm 6.4R) so that no tombstones pile up. */
    for (uint32_t at = (hole + 1) & table->mask; table->slots[at]; at = (at + 1) & table->mask) {
        uint32_t home = slot_hash(table->slots[at]) & table->mask;
        if (((at - home) & table->mask) >= ((at - hole) & table->mask)) {
            table->slots[hole] = table->slots[at];
            hole = at;
        }
    }
    table->slots[hole] = 0;
    table->used--;
}

static inline uint64_t mix(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t hash_bytes(const void *bytes, size_t size, uint64_t seed) {
    const uint8_t *at = bytes;
    uint64_t hash = seed ^ UINT64_C(0x9E3779B97F4A7C15);
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = mix(hash ^ word, UINT64_C(0xD6E8FEB86659FD93));
    }
    uint64_t rest = 0;
    memcpy(&rest, at, size);
    return mix(hash ^ rest ^ (uint64_t)size << 56, UINT64_C(0xA0761D6478BD642F));
}
