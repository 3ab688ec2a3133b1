/* Local scripts and programs whose interpreter is on a drive. */
#ifndef SECCOMP_DRIVE_SCRIPTS_H
#define SECCOMP_DRIVE_SCRIPTS_H

#include "judge.h"

/* Whether the file of an execve or execveat that names no drive itself is a program, a script, or the script of
 * a script, whose interpreter may be on one. */
bool script_concerns(struct court *court, const struct trapped *trapped, bool other_root);

/* Defined by the judge: whether the path of an interpreter may concern a drive. */
bool interpreter_concerns(struct court *court, pid_t tid, const char *path, bool other_root);

#endif
