/* One raw system call in this thread: of either architecture, and as somebody else if asked. */
#ifndef SECCOMP_DRIVE_PERFORM_H
#define SECCOMP_DRIVE_PERFORM_H

#include <linux/capability.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct identity {
    unsigned fsuid, fsgid;
    const unsigned *groups;
    size_t group_count;
    uint64_t capabilities; /* the effective ones; those that the thread may not have are left out */
};

/* What this thread was before it assumed another identity. */
struct before {
    unsigned fsuid, fsgid;
    unsigned *groups;
    size_t group_count;
    struct __user_cap_data_struct capabilities[2];
    bool groups_taken, fsgid_taken, fsuid_taken, capabilities_taken;
};

/* 0 or -errno, when the thread is as it was. `resume` takes its own identity back; aborts if it cannot. */
int assume(const struct identity *identity, struct before *before);
void resume(struct before *before);

struct argument {
    uint64_t value;   /* the number, when there is no buffer */
    void *buffer;
    size_t length;
    bool writable;    /* what the kernel writes is wanted back */
};

/* The call's result (negative errno included) in *result and 0, or -errno when it could not be made.
 * `identity` may be NULL. Aborts if the thread cannot take its own identity back. */
int perform(uint32_t arch, long number, const struct argument arguments[6], const struct identity *identity,
            long *result);

#endif
