/* Calls on the descriptor of a file in a mirror that the kernel makes as we would. */
#ifndef SECCOMP_DRIVE_SPARED_H
#define SECCOMP_DRIVE_SPARED_H

#include "judge.h"

/* Whether it is a change of mode, owner or times that the close of the descriptor will push, or an fstat(2) that
 * shows all bits of the mode. */
bool kernel_suffices(struct court *court, struct trapped *trapped);

#endif
