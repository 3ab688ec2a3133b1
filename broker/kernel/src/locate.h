/* Where the path of a call is on a drive, so far as that takes no more than the text. */
#ifndef SECCOMP_DRIVE_LOCATE_H
#define SECCOMP_DRIVE_LOCATE_H

#include "judge.h"

struct place { /* a normal path on a drive, relative to its root; not the root itself */
    size_t drive;
    const char *path;
    size_t length;
};

struct base { /* the folder that a relative path begins in */
    long length; /* 0 for an absolute path */
    char path[PATH_LIMIT];
};

/* A path of ordinary names on a drive: absolute, with a scheme, or relative to a folder in a mirror. */
bool locate(const struct court *court, struct trapped *trapped, struct normal *normal, struct place *place,
            struct base *base);

/* Whether the folder has another path by now: there the kernel would find what we did not. */
bool has_moved(struct trapped *trapped, const struct base *before);

/* openat2(2) through no symlink, and to no other file system, which may hang; or -errno. */
int open_beneath(int root, const char *path, int flags);

/* The same of what is at `path` in the mirror, as somebody else unless `as` is NULL: who may not come to the drive's
 * prefix gets -EACCES, too. */
int open_as(const struct identity *as, const struct drive *drive, const struct base *base, const char *path, int flags);

#endif
