#define _GNU_SOURCE
#include "asking.h"
#include "tracee.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_pidfd(pid_t tid)
{
    int pidfd = syscall(SYS_pidfd_open, tid, O_EXCL); /* PIDFD_THREAD, since 6.9 */
    if (pidfd >= 0 || errno != EINVAL)
        return pidfd < 0 ? -errno : pidfd;
    struct tracee_status status;
    int error = tracee_status(tid, &status);
    if (error)
        return error;
    free(status.groups);
    pidfd = syscall(SYS_pidfd_open, status.tgid, 0);
    return pidfd < 0 ? -errno : pidfd;
}

int tracee_copy_descriptor(pid_t tid, int fd)
{
    int pidfd = open_pidfd(tid);
    if (pidfd < 0)
        return pidfd;
    struct asking asking = {.tid = tid, .as_whom = AS_ITS_REAL_IDS};
    int copy;
    do {
        copy = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
        copy = copy < 0 ? -errno : copy;
    } while (ask_again(&asking, copy));
    close(pidfd);
    return copy;
}
