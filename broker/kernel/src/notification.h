/* The listener's ioctls (seccomp_unotify(2)). */
#ifndef SECCOMP_DRIVE_NOTIFICATION_H
#define SECCOMP_DRIVE_NOTIFICATION_H

#include <stdbool.h>
#include <stdint.h>

/* All return -errno on failure; `error` is negative or 0. */
int notification_send(int listener, uint64_t id, int64_t value, int error, unsigned flags);

/* The number in the tracee; exactly `number` when that is not negative. */
int notification_add_fd(int listener, uint64_t id, int fd, int number, bool cloexec);

bool notification_valid(int listener, uint64_t id);

/* SECCOMP_IOCTL_NOTIF_SET_FLAGS with SYNC_WAKE_UP, which the kernel has since 6.6. */
bool notification_sync_wake_up(int listener);

#endif
