/* As whom a thread's calls are to be judged, and whether that is this process itself. */
#ifndef SECCOMP_DRIVE_CALLER_H
#define SECCOMP_DRIVE_CALLER_H

#include "perform.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct own { /* what this process is */
    bool comparable; /* real, effective and file-system ids are one, and the kernel can tell those of others */
    unsigned uid, gid;
    uint64_t capabilities;
    uint64_t namespace_device, namespace_inode;
};

/* What one of our threads knows of other threads. Each keeps a process file descriptor, which stands for the thread that
 * had the id when it was opened, so that a reused id is noticed. Zeros are an empty one. */
struct callers {
    struct caller {
        pid_t tid;
        int file;
        bool at_home;             /* in our user namespace when it was opened */
        bool grouped;             /* `groups` have been read */
        struct identities {
            struct identity effective, real; /* the second for access(2); `groups` are those of the first, malloc'd */
        } identities;
    } slots[32];
};

struct own own_identity(void);

struct whom {
    bool own; /* as this process */
    const struct identities *others; /* if not, and this process can be others: as them; until the next question */
};

/* As whom a thread's calls are judged; zeros where that cannot be told. `regrouped`: threads may have other supplementary
 * groups than they began with. `moved`: they may have changed their user namespace; then it is only told who is as we are. */
struct whom caller_whom(const struct own *own, struct callers *callers, pid_t tid, bool regrouped, bool moved);
void callers_close(struct callers *callers);

#endif
