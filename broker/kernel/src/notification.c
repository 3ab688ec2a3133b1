#define _GNU_SOURCE
#include "notification.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS /* headers before 6.6 */
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

int notification_send(int listener, uint64_t id, int64_t value, int error, unsigned flags)
{
    struct seccomp_notif_resp response = {.id = id, .val = value, .error = error, .flags = flags};
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) ? -errno : 0;
}

int notification_add_fd(int listener, uint64_t id, int fd, int number, bool cloexec)
{
    struct seccomp_notif_addfd request = {
        .id = id,
        .srcfd = fd,
        .flags = number < 0 ? 0 : SECCOMP_ADDFD_FLAG_SETFD,
        .newfd = number < 0 ? 0 : number,
        .newfd_flags = cloexec ? O_CLOEXEC : 0,
    };
    /* An ADDFD that a signal interrupts may be lost or doubled. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int added = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &request);
    if (added < 0)
        added = -errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return added;
}

bool notification_valid(int listener, uint64_t id)
{
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

bool notification_sync_wake_up(int listener)
{
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP) == 0;
}
