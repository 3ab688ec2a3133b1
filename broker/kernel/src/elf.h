/* The ELF interpreter of a program (PT_INTERP), as fs/binfmt_elf.c finds it. */
#ifndef SECCOMP_DRIVE_ELF_H
#define SECCOMP_DRIVE_ELF_H

#include "prefixes.h"

/* Length of its path, NUL-terminated; 0 where the open file names none, or is no program. */
long elf_interpreter(int file, char path[PATH_LIMIT]);

#endif
