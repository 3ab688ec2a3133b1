/* Whether a symlink on the local disk leads a path onto a drive, remembered for a second. */
#ifndef SECCOMP_DRIVE_LINKS_H
#define SECCOMP_DRIVE_LINKS_H

#include "prefixes.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { LINK_CACHE_BITS = 16 };

struct links {
    const struct prefixes *prefixes;
    atomic_bool *handed_out;
    uint64_t start, seed;
    _Atomic uint32_t distrusted; /* what was learned up to this moment may be wrong */
    _Atomic uint64_t entries[1 << LINK_CACHE_BITS];
};

/* NULL when memory is short; free() it. */
struct links *links_new(const struct prefixes *prefixes, atomic_bool *handed_out);

/* Drops all that was learned, and learns nothing for a moment: the change may still be under way. */
void links_forget(struct links *links);

/* Moments are milliseconds. Take one before looking, and remember with it. */
uint32_t links_now(const struct links *links);
uint64_t links_key(const struct links *links, const char *text, size_t length, uint64_t kind);
bool links_known_clean(struct links *links, uint64_t key, uint32_t now);
void links_remember(struct links *links, uint64_t key, uint32_t now);

/* Whether there is no symlink on the way of `path`, which one call of the kernel can tell: an absolute path with
 * AT_FDCWD, or one inside the folder `root`. */
bool links_absent(int root, const char *path);

/* Whether `path` (absolute, of JOINED_LIMIT at most, its last component followed) leads onto a drive or through a
 * link of /proc that may. `root` is a descriptor of the root that it is looked up in, or AT_FDCWD. */
bool links_lead_away(const struct links *links, int root, const char *path);

/* The same for a normal path without "..", using and filling the cache. */
bool links_concern(struct links *links, const struct normal *normal, bool follow, uint32_t now);

#endif
