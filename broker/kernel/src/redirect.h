/* Another system call in place of the trapped one, by ptrace, changing the tracee's registers only. */
#ifndef SECCOMP_DRIVE_REDIRECT_H
#define SECCOMP_DRIVE_REDIRECT_H

#include <stdint.h>
#include <sys/types.h>

struct redirect {
    int listener;
    uint64_t id; /* of the notification */
    pid_t tid, tgid;
    uint32_t arch;
    int descriptor; /* injected for the length of the call; -1 for none */
    long number;
    uint64_t arguments[6];
    int descriptor_argument;
    uint64_t cookie; /* goes into the sixth argument if that is 0 */
    int failure;     /* the errno that the tracee sees although the call succeeded; 0 for none */
};

/* 0 and the call's result (0 after an exec), or -errno: -EPERM and the like when ptrace was refused (the
 * notification then waits on), -ESRCH when the tracee died, -ENOENT when the trapped call had been cancelled.
 * Traces from the calling thread, which must not trace anything else. */
int redirect(const struct redirect *order, long *result);

#endif
