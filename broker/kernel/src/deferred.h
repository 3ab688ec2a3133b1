/* Changes that need nobody: the close of the descriptor they come through pushes them. */
#ifndef SECCOMP_DRIVE_DEFERRED_H
#define SECCOMP_DRIVE_DEFERRED_H

#include "judge.h"

/* Whether the kernel may make the change of mode, owner or times by itself. */
bool is_left_to_close(struct court *court, struct trapped *trapped);

#endif
