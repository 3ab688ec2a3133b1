/* Waiting without sleep: to be woken takes longer than what is waited for. */
#ifndef SECCOMP_DRIVE_SPIN_H
#define SECCOMP_DRIVE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

/* Whether the epoll instance has an event, looking again and again for so long. It takes none. */
bool spin(int epoll, uint64_t nanoseconds);

#endif
