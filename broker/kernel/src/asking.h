/* Questions to the kernel about another thread that it answers only to who has that thread's ids, or CAP_SYS_PTRACE. */
#ifndef SECCOMP_DRIVE_ASKING_H
#define SECCOMP_DRIVE_ASKING_H

#include <linux/capability.h>
#include <stdbool.h>
#include <sys/types.h>

/* ptrace(2), "Ptrace access mode checking": what asks for file-system ids is content with effective ones as well. With
 * a real id, all processes of that user may send signals to the thread that has it, so it is for what needs it. */
enum as_whom { AS_ITS_EFFECTIVE_IDS, AS_ITS_REAL_IDS };

struct asking { /* set the first two, and leave the rest zero */
    pid_t tid;
    enum as_whom as_whom;
    bool as_somebody_else;
    unsigned uids[3], gids[3];
    struct __user_cap_data_struct capabilities[2];
};

/* To go round a question: do result = ...; while (ask_again(&asking, result));
 * True once, with the ids of `tid` taken, if `result` is -EPERM or -EACCES and they can be taken. When it is false the
 * thread has its own ids; aborts if it cannot have them back. */
bool ask_again(struct asking *asking, long result);

#endif
