/* rt_sigaction on its way to the kernel. */
#ifndef SECCOMP_DRIVE_SIGNALS_H
#define SECCOMP_DRIVE_SIGNALS_H

#include <linux/seccomp.h>

/* Adds SA_RESTART to the new action in the tracee, unless it has it or has no handler: a trapped call can be
 * interrupted before it is received, and programs do not expect EINTR of stat. */
void restart_interrupted_calls(int listener, const struct seccomp_notif *notification);

#endif
