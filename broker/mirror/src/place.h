/* Placeholders: many nodes of one folder made in a row, without the interpreter. */
#ifndef SECCOMP_DRIVE_PLACE_H
#define SECCOMP_DRIVE_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct placeholder {
    const char *name;   /* in the folder, or a path */
    const char *target; /* of a symlink */
    unsigned mode;      /* with the type bits */
    bool owned;         /* by `uid` and `gid`; else by whom the kernel makes the owner */
    unsigned uid, gid;
    uint64_t rdev;
    int64_t size, atime_ns, mtime_ns; /* a regular file is one hole of that size */
    int64_t made;                     /* the inode number, or a negative errno */
};

/* Make them in order, until all are made or the time is up: how many were tried, at least one. What cannot be made as it
   should be is not there afterwards. */
size_t place(int folder, struct placeholder *wanted, size_t count, uint64_t nanoseconds);

/* Look for them by their names, which are not followed: the inode number, or a negative errno, in `made`. */
void find(int folder, struct placeholder *wanted, size_t count);

#endif
