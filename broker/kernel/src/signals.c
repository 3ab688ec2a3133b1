#define _GNU_SOURCE
#include "signals.h"

#include "notification.h"
#include "tracee.h"

#include <linux/audit.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

void restart_interrupted_calls(int listener, const struct seccomp_notif *notification)
{
    /* struct kernel_sigaction begins with the handler and the flags, each as wide as a pointer. */
    size_t width = notification->data.arch == AUDIT_ARCH_I386 ? 4 : 8;
    uint64_t address = notification->data.args[1], handler = 0, flags = 0;
    char action[16];
    if (tracee_read(notification->pid, address, action, 2 * width) != (long)(2 * width))
        return;
    memcpy(&handler, action, width);
    memcpy(&flags, action + width, width);
    if (handler == (uintptr_t)SIG_DFL || handler == (uintptr_t)SIG_IGN || flags & SA_RESTART)
        return;
    flags |= SA_RESTART;
    if (notification_valid(listener, notification->id))
        tracee_write(notification->pid, address + width, &flags, width);
}
