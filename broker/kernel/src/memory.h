/* What happens when the interpreter gets no memory. */
#ifndef SECCOMP_DRIVE_MEMORY_H
#define SECCOMP_DRIVE_MEMORY_H

/* From now on the process ends, with a line on stderr and this status, when it gets no memory for something small. To
 * be called before there are threads. */
void memory_insist(int status);

#endif
