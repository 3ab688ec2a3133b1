#define _GNU_SOURCE
#include "links.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

enum {
    TTL = 1000,   /* ms */
    GRACE = 12,   /* ms: a call that was let through has done its work by then; covers the clock's tick as well */
    FOLLOWED = 40, /* the kernel's own limit (path_resolution(7)) */
    STAMP_BITS = 28,
};

#define STAMP_MASK ((1u << STAMP_BITS) - 1)

struct links *links_new(const struct prefixes *prefixes, atomic_bool *handed_out)
{
    struct links *links = calloc(1, sizeof *links);
    if (!links)
        return NULL;
    links->prefixes = prefixes;
    links->handed_out = handed_out;
    if (getrandom(&links->seed, sizeof links->seed, 0) < 0)
        links->seed = (uintptr_t)links;
    links->start = links_now(links) - 2 * TTL; /* the zeros of an empty cache are old then */
    return links;
}

uint32_t links_now(const struct links *links)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint32_t)(now.tv_sec * 1000ULL + now.tv_nsec / 1000000 - links->start);
}

void links_forget(struct links *links)
{
    atomic_store_explicit(&links->distrusted, links_now(links) + GRACE, memory_order_release);
}

uint64_t links_key(const struct links *links, const char *text, size_t length, uint64_t kind)
{
    return text_key(links->seed, text, length, kind);
}

/* An entry is one word, so that it is read and written whole: the upper bits of the key, and the moment. */
static _Atomic uint64_t *entry_of(struct links *links, uint64_t key)
{
    return &links->entries[key & ((1 << LINK_CACHE_BITS) - 1)];
}

bool links_known_clean(struct links *links, uint64_t key, uint32_t now)
{
    uint64_t entry = atomic_load_explicit(entry_of(links, key), memory_order_relaxed);
    if ((entry ^ key) >> STAMP_BITS)
        return false;
    uint32_t age = (now - (uint32_t)entry) & STAMP_MASK;
    if (age > TTL)
        return false;
    uint32_t learned = now - age;
    return (int32_t)(learned - atomic_load_explicit(&links->distrusted, memory_order_acquire)) > 0;
}

void links_remember(struct links *links, uint64_t key, uint32_t now)
{
    uint64_t entry = (key & ~(uint64_t)STAMP_MASK) | (now & STAMP_MASK);
    atomic_store_explicit(entry_of(links, key), entry, memory_order_relaxed);
}

static const char *below(int root, const char *path)
{
    if (root == AT_FDCWD)
        return path;
    return path[1] ? path + 1 : ".";
}

bool links_absent(int root, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    if (root != AT_FDCWD)
        how.resolve |= RESOLVE_IN_ROOT;
    int opened = syscall(SYS_openat2, root, path, &how, sizeof how);
    if (opened >= 0)
        close(opened);
    return opened >= 0 || (errno != ELOOP && errno != ENOSYS && errno != EPERM && errno != EMFILE);
}

/* A path as far as it is resolved, without symlinks, and the text that is left. */
struct walk {
    char done[JOINED_LIMIT];
    size_t length;
    char rest[JOINED_LIMIT];
    const char *next;
};

static bool follow_link(struct walk *walk, const char *target, size_t length, size_t before)
{
    char spliced[JOINED_LIMIT];
    size_t remaining = strlen(walk->next);
    if (length + 1 + remaining >= sizeof spliced)
        return false;
    memcpy(spliced, target, length);
    spliced[length] = '/';
    memcpy(spliced + length + 1, walk->next, remaining + 1);
    memcpy(walk->rest, spliced, length + 1 + remaining + 1);
    walk->next = walk->rest;
    walk->length = target[0] == '/' ? 0 : before;
    return true;
}

static bool magic_concerns(const struct links *links, const struct walk *walk)
{
    char whole[2 * JOINED_LIMIT];
    struct normal normal;
    memcpy(whole, walk->done, walk->length);
    whole[walk->length] = '/';
    strcpy(whole + walk->length + 1, walk->next);
    if (strlen(whole) >= JOINED_LIMIT)
        return false;
    normalise(links->prefixes, whole, &normal);
    enum magic magic = magic_link(normal.path);
    return normal.touches || magic == PASSES_MAGIC || (magic == ENDS_IN_MAGIC && atomic_load(links->handed_out));
}

/* Whether the link is one of a procfs that stands elsewhere than at /proc: such may lead anywhere. */
static bool is_of_procfs(int root, const char *link)
{
    int opened = openat(root, below(root, link), O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (opened < 0)
        return false;
    struct statfs found;
    bool is = !fstatfs(opened, &found) && found.f_type == PROC_SUPER_MAGIC;
    close(opened);
    return is;
}

/* *in_proc: a link on the way leads into /proc, where our own processes are found and not the tracee's. */
static bool lead_away(const struct links *links, int root, const char *path, bool *in_proc)
{
    struct walk walk;
    walk.length = 0;
    walk.next = strcpy(walk.rest, path);
    bool gone = false; /* nothing is there, but the text may still reach a prefix, which nobody sees on the disk */
    for (int followed = 0; followed <= FOLLOWED;) {
        while (*walk.next == '/')
            walk.next++;
        size_t component = strchrnul(walk.next, '/') - walk.next;
        if (!component)
            return false;
        const char *name = walk.next;
        size_t before = walk.length;
        walk.next += component;
        if (component == 1 && name[0] == '.')
            continue;
        if (component == 2 && name[0] == '.' && name[1] == '.') {
            while (walk.length && walk.done[--walk.length] != '/')
                ;
            continue;
        }
        if (walk.length + component + 1 >= sizeof walk.done)
            return false;
        walk.done[walk.length] = '/';
        memcpy(walk.done + walk.length + 1, name, component);
        walk.length += component + 1;
        walk.done[walk.length] = 0;
        if (equals_one(&links->prefixes->folders, walk.done, walk.length))
            return true;
        if (!strncmp(walk.done, "/proc/", 6)) {
            *in_proc = true;
            return magic_concerns(links, &walk);
        }
        char target[PATH_LIMIT];
        ssize_t length = gone ? -1 : readlinkat(root, below(root, walk.done), target, sizeof target);
        if (length >= 0) {
            followed++;
            if (names_scheme(links->prefixes, target, length) || is_of_procfs(root, walk.done))
                return true;
            if (!follow_link(&walk, target, length, before))
                return false;
        } else {
            gone |= errno == ENOENT;
        }
    }
    return false;
}

bool links_lead_away(const struct links *links, int root, const char *path)
{
    bool in_proc;
    return lead_away(links, root, path, &in_proc);
}

/* Whether the last component is that of a prefix: nothing need exist there, so that its folder says nothing. */
static bool ends_like_a_prefix(const struct texts *folders, const struct normal *normal)
{
    size_t above = (const char *)memrchr(normal->path, '/', normal->length) - normal->path;
    for (size_t index = 0; index < folders->count; index++) {
        const struct text folder = folders->items[index];
        const char *name = memrchr(folder.bytes, '/', folder.length);
        size_t length = folder.bytes + folder.length - name;
        if (length == normal->length - above && !memcmp(name, normal->path + above, length))
            return true;
    }
    return false;
}

bool links_concern(struct links *links, const struct normal *normal, bool follow, uint32_t now)
{
    if (ends_like_a_prefix(&links->prefixes->folders, normal))
        return links_lead_away(links, AT_FDCWD, normal->path);
    char path[JOINED_LIMIT], parent[JOINED_LIMIT], target[1];
    size_t length = normal->length;
    if (!follow)
        length = (const char *)memrchr(normal->path, '/', length) - normal->path;
    if (length <= 1)
        return false;
    memcpy(path, normal->path, length);
    path[length] = 0;
    uint64_t key = links_key(links, path, length, 0);
    if (links_known_clean(links, key, now))
        return false;
    size_t above = (const char *)memrchr(path, '/', length) - path;
    memcpy(parent, path, above);
    parent[above] = 0;
    uint64_t parent_key = links_key(links, parent, above, 0);
    if (above && !links_known_clean(links, parent_key, now)) {
        if (links_absent(AT_FDCWD, path)) {
            links_remember(links, parent_key, now);
            links_remember(links, key, now);
            return false;
        }
        bool in_proc = false;
        if (lead_away(links, AT_FDCWD, parent, &in_proc))
            return true;
        if (in_proc)
            return links_lead_away(links, AT_FDCWD, path);
        links_remember(links, parent_key, now);
    }
    if (readlink(path, target, sizeof target) >= 0 && links_lead_away(links, AT_FDCWD, path))
        return true;
    links_remember(links, key, now);
    return false;
}
