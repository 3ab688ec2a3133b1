#define _GNU_SOURCE
#include "warm.h"

#include "witness.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { ROOM_FIRST = 1 << 10, ROOM_MOST = 1 << 20 };
enum { NAME = 1, LISTING = 2 };

static const uint64_t VALID = 1ULL << 63, HAS_NLINK = 1ULL << 62, HAS_BLOCKS = 1ULL << 61, DIRTY = 1ULL << 60;

static struct slot *find(const struct table *table, uint64_t key)
{
    size_t at = key >> 1 & (table->room - 1);
    while (table->slots[at].key && table->slots[at].key != key)
        at = (at + 1) & (table->room - 1);
    return &table->slots[at];
}

static void empty(struct table *table)
{
    free(table->slots);
    *table = (struct table){0};
}

/* What was forgotten is left out. Beyond the most, and when memory is short, everything is. */
static void grow(struct table *table)
{
    size_t living = 0;
    for (size_t at = 0; at < table->room; at++)
        living += table->slots[at].first != 0;
    struct table larger = {.room = ROOM_FIRST};
    while (larger.room < 4 * living)
        larger.room *= 2;
    if (larger.room <= ROOM_MOST)
        larger.slots = calloc(larger.room, sizeof *larger.slots);
    for (size_t at = 0; larger.slots && at < table->room; at++)
        if (table->slots[at].first) {
            *find(&larger, table->slots[at].key) = table->slots[at];
            larger.used++;
        }
    empty(table);
    if (larger.slots)
        *table = larger;
}

static void put(struct table *table, uint64_t key, uint64_t first, uint64_t second)
{
    if (2 * table->used >= table->room) {
        if (!first && (!table->room || find(table, key)->key != key))
            return;
        grow(table);
        if (!table->room)
            grow(table);
        if (!table->room)
            return;
    }
    struct slot *slot = find(table, key);
    table->used += !slot->key;
    *slot = (struct slot){key, first, second};
}

static const struct slot *get(const struct table *table, uint64_t key)
{
    if (!table->room)
        return NULL;
    const struct slot *slot = find(table, key);
    return slot->key && slot->first ? slot : NULL;
}

static void drop(struct table *table, uint64_t key)
{
    if (get(table, key))
        find(table, key)->first = 0;
}

static uint64_t path_key(const struct warm *warm, const char *path, size_t length, int kind)
{
    return text_key(warm->seed, path, length, kind) | 1;
}

static uint64_t inode_key(uint64_t inode)
{
    return inode * 0x9e3779b97f4a7c15ULL | 1ULL << 63;
}

struct warm *warm_new(size_t count)
{
    struct warm *warm = calloc(1, sizeof *warm);
    if (!warm)
        return NULL;
    pthread_mutex_init(&warm->mutex, NULL);
    warm->count = count;
    if (getrandom(&warm->seed, sizeof warm->seed, 0) < 0)
        warm->seed = (uintptr_t)warm;
    return warm;
}

void warm_free(struct warm *warm)
{
    for (size_t drive = 0; drive < warm->count; drive++) {
        empty(&warm->drives[drive].fresh);
        empty(&warm->drives[drive].nodes);
        empty(&warm->drives[drive].complete);
        empty(&warm->drives[drive].witnessed);
        free((char *)warm->drives[drive].prefix.bytes);
        free((char *)warm->drives[drive].root.bytes);
    }
    pthread_mutex_destroy(&warm->mutex);
    free(warm);
}

void warm_close(struct warm *warm)
{
    pthread_mutex_lock(&warm->mutex);
    for (size_t drive = 0; drive < warm->count; drive++) {
        warm->drives[drive].shared = warm->drives[drive].state = NULL;
        warm->drives[drive].folder = warm->drives[drive].root_fd = -1;
    }
    pthread_mutex_unlock(&warm->mutex);
}

static void set_fresh(struct warm *warm, size_t drive, const char *path, size_t length, int kind, uint64_t until)
{
    pthread_mutex_lock(&warm->mutex);
    put(&warm->drives[drive].fresh, path_key(warm, path, length, kind), until, 0);
    pthread_mutex_unlock(&warm->mutex);
}

void warm_name(struct warm *warm, size_t drive, const char *path, size_t length, uint64_t until)
{
    set_fresh(warm, drive, path, length, NAME, until);
}

void warm_listing(struct warm *warm, size_t drive, const char *path, size_t length, uint64_t until)
{
    set_fresh(warm, drive, path, length, LISTING, until);
}

void warm_forget_names(struct warm *warm, size_t drive)
{
    pthread_mutex_lock(&warm->mutex);
    empty(&warm->drives[drive].fresh);
    pthread_mutex_unlock(&warm->mutex);
}

void warm_node(struct warm *warm, size_t drive, uint64_t inode, const struct shown *shown)
{
    uint64_t first = 0, blocks = 0;
    if (shown) {
        first = VALID | (shown->has_nlink ? HAS_NLINK : 0) | (shown->has_blocks ? HAS_BLOCKS : 0) |
                (shown->dirty ? DIRTY : 0) | (uint64_t)shown->set_id << 32 | shown->nlink;
        blocks = shown->blocks;
    }
    pthread_mutex_lock(&warm->mutex);
    put(&warm->drives[drive].nodes, inode_key(inode), first, blocks);
    drop(&warm->drives[drive].complete, inode_key(inode));
    pthread_mutex_unlock(&warm->mutex);
}

void warm_complete(struct warm *warm, size_t drive, uint64_t inode, uint64_t version, uint64_t until)
{
    pthread_mutex_lock(&warm->mutex);
    put(&warm->drives[drive].complete, inode_key(inode), until, version);
    pthread_mutex_unlock(&warm->mutex);
}

void warm_witnessed(struct warm *warm, size_t drive, const char *path, size_t length, uint64_t inode, uint64_t version,
                    const char *state)
{
    uint64_t key = state_key(warm->seed, inode, version, state, warm->drives[drive].state_size);
    pthread_mutex_lock(&warm->mutex);
    put(&warm->drives[drive].witnessed, path_key(warm, path, length, NAME), key, 0);
    pthread_mutex_unlock(&warm->mutex);
}

void warm_forget_nodes(struct warm *warm, size_t drive)
{
    pthread_mutex_lock(&warm->mutex);
    empty(&warm->drives[drive].nodes);
    empty(&warm->drives[drive].complete);
    pthread_mutex_unlock(&warm->mutex);
}

static bool holds(const struct warm *warm, size_t drive, const char *path, size_t length, int kind, uint64_t now)
{
    const struct slot *slot = get(&warm->drives[drive].fresh, path_key(warm, path, length, kind));
    return slot && slot->first > now;
}

bool warm_is_fresh(struct warm *warm, size_t drive, const char *path, size_t length, uint64_t now)
{
    bool fresh = true;
    pthread_mutex_lock(&warm->mutex);
    for (size_t end = 0, above = 0; fresh && end < length; above = end++) {
        const char *slash = memchr(path + end, '/', length - end);
        end = slash ? (size_t)(slash - path) : length;
        fresh = holds(warm, drive, path, above, LISTING, now) || holds(warm, drive, path, end, NAME, now);
    }
    pthread_mutex_unlock(&warm->mutex);
    return fresh;
}

bool warm_is_listed(struct warm *warm, size_t drive, const char *path, size_t length, uint64_t now)
{
    pthread_mutex_lock(&warm->mutex);
    bool listed = holds(warm, drive, path, length, LISTING, now);
    pthread_mutex_unlock(&warm->mutex);
    return listed;
}

static uint16_t set_id_of(const struct slot *node)
{
    return node->first >> 32;
}

/* What is known of a node, unless another session has changed anything since. */
static const struct slot *current(const struct warm *warm, size_t drive, uint64_t inode)
{
    const struct drive *owner = &warm->drives[drive];
    bool unchanged = owner->shared && !memcmp(owner->shared, owner->seen, owner->shared_size);
    return unchanged ? get(&owner->nodes, inode_key(inode)) : NULL;
}

bool warm_shown(struct warm *warm, size_t drive, uint64_t inode, struct shown *shown)
{
    pthread_mutex_lock(&warm->mutex);
    const struct slot *slot = current(warm, drive, inode);
    if (slot)
        *shown = (struct shown){
            .has_nlink = slot->first & HAS_NLINK,
            .has_blocks = slot->first & HAS_BLOCKS,
            .dirty = slot->first & DIRTY,
            .set_id = set_id_of(slot),
            .nlink = (uint32_t)slot->first,
            .blocks = slot->second,
        };
    pthread_mutex_unlock(&warm->mutex);
    return slot;
}

bool warm_is_complete(struct warm *warm, size_t drive, uint64_t inode, uint64_t now, uint64_t *version)
{
    pthread_mutex_lock(&warm->mutex);
    const struct slot *slot = get(&warm->drives[drive].complete, inode_key(inode)), *node = current(warm, drive, inode);
    bool complete = slot && slot->first > now && node && !set_id_of(node);
    *version = complete ? slot->second : 0;
    pthread_mutex_unlock(&warm->mutex);
    return complete;
}

bool warm_is_witnessed(struct warm *warm, size_t drive, const char *path, size_t length, uint64_t inode, uint64_t version)
{
    const struct drive *owner = &warm->drives[drive];
    pthread_mutex_lock(&warm->mutex);
    const struct slot *slot = get(&owner->witnessed, path_key(warm, path, length, NAME));
    bool witnessed = slot && owner->state &&
                     slot->first == state_key(warm->seed, inode, version, owner->state, owner->state_size);
    pthread_mutex_unlock(&warm->mutex);
    return witnessed;
}
