/* Whether a thread acts as this process does: the same ids, capabilities and user namespace. */
#ifndef SECCOMP_DRIVE_CALLER_H
#define SECCOMP_DRIVE_CALLER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct own { /* what this process is */
    bool comparable; /* real, effective and file-system ids are one, and the kernel can tell those of others */
    unsigned uid, gid;
    uint64_t capabilities;
    uint64_t namespace_device, namespace_inode;
};

/* Process file descriptors of threads, kept open by one of our threads. They stand for the thread that had the id
 * when they were opened, so a reused id is noticed. Zeros are an empty one. */
struct callers {
    struct {
        pid_t tid;
        int file;
        bool at_home; /* in our user namespace when it was opened */
    } slots[32];
};

struct own own_identity(void);

/* False also where that cannot be told. Supplementary groups are not compared: the caller of this function knows of
 * setgroups(2). `moved`: threads may have changed their user namespace. */
bool caller_is_own(const struct own *own, struct callers *callers, pid_t tid, bool moved);
void callers_close(struct callers *callers);

#endif
