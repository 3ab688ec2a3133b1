/* The lane's own answers: stat(2), and open(2) for reading, of what the broker has vouched for. */
#ifndef SECCOMP_DRIVE_ANSWERS_H
#define SECCOMP_DRIVE_ANSWERS_H

#include "judge.h"

/* Whether the call is answered. */
bool answer_warm(struct court *court, struct trapped *trapped);

#endif
