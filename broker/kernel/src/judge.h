/* The lane's decision on one notification: whether it may concern a drive. */
#ifndef SECCOMP_DRIVE_JUDGE_H
#define SECCOMP_DRIVE_JUDGE_H

#include "caller.h"
#include "links.h"
#include "prefixes.h"
#include "rows.h"
#include "tracee.h"
#include "warm.h"

#include <linux/seccomp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

struct root { /* which root a path is looked up in */
    uint64_t inode, mount;
    uint32_t major, minor;
};

struct court { /* what all decisions share */
    int listener;
    struct prefixes prefixes;
    struct links *links;
    struct warm *warm; /* NULL: the lane answers nothing by itself */
    struct own own;
    atomic_bool handed_out; /* a working directory or descriptor may lie in a mirror */
    atomic_bool rooted;     /* somebody may have another root than ours */
    atomic_bool hidden;     /* somebody may not be looked into, and the broker knows */
    atomic_bool regrouped;  /* somebody may have other supplementary groups than ours */
    struct root root;
};

struct unread { /* how many calls of a thread could not be read */
    pid_t tid;
    unsigned calls;
};

struct trapped {
    struct seccomp_notif notification;
    const struct row *row;
    struct unread unread[8]; /* these three live on from call to call */
    struct kept kept;
    struct callers callers;
    struct whom caller;
    int path_count;
    long lengths[2]; /* negative where the path could not be read */
    char paths[2][PATH_LIMIT];
};

/* Fills the paths of `trapped`; true to hand over, false to let the call continue. */
bool may_concern_a_drive(struct court *court, struct trapped *trapped);

struct whom caller_of(struct court *court, struct trapped *trapped);

/* What this thread's root is. */
struct root own_root(void);

#endif
