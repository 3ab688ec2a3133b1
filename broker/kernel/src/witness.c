#include "witness.h"

#include "prefixes.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

enum { VERSION = 3, STATE = 4 }; /* beside the kinds of warm.c */

/* st_mtime_ns of os.stat_result, which is unbounded. */
static bool nanoseconds(struct timespec moment, int64_t *all)
{
    return !__builtin_mul_overflow(moment.tv_sec, 1000000000LL, all) && !__builtin_add_overflow(*all, moment.tv_nsec, all);
}

uint64_t version_key(uint64_t seed, const struct stat *status)
{
    char text[4 * 24];
    int64_t modified, changed;
    if (!nanoseconds(status->st_mtim, &modified) || !nanoseconds(status->st_ctim, &changed))
        return 0;
    int length = snprintf(text, sizeof text, "%" PRIu64 ":%" PRId64 ":%" PRId64 ":%" PRId64, (uint64_t)status->st_ino,
                          (int64_t)status->st_size, modified, changed);
    return version_text_key(seed, text, length);
}

uint64_t version_text_key(uint64_t seed, const char *version, size_t length)
{
    return text_key(seed, version, length, VERSION) | 1;
}

uint64_t state_key(uint64_t seed, uint64_t inode, uint64_t version, const char *state, size_t size)
{
    uint64_t parts[] = {inode, version, text_key(seed, state, size, STATE)};
    return text_key(seed, (const char *)parts, sizeof parts, STATE) | 1;
}
