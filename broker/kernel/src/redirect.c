#define _GNU_SOURCE
#include "redirect.h"

#include "asking.h"
#include "notification.h"

#include <errno.h>
#include <linux/audit.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

enum {
    CLOSE_X86_64 = 3,
    CLOSE_I386 = 6,
    SYSTEM_CALL_STOP = SIGTRAP | 0x80,
    INSTRUCTION = 2, /* bytes of `syscall` and of `int $0x80`; a sysenter returns to just behind the latter */
    /* A kernel's own error numbers, for "run the call again" (include/linux/errno.h). */
    ERESTARTSYS = 512,
    ERESTART_RESTARTBLOCK = 516,
    EXECED = 1,
    SIGMASK_SIZE = 8,
};

struct tracing {
    pid_t tid, tgid;
    pid_t stopped; /* the id to name in requests: an exec from a thread makes it the tgid */
    uint32_t arch;
};


/* 0 at the next stop of the tracee, -ESRCH when it is dead (and then its parent may reap it).
 * Exact ids, and of this thread alone: what other threads trace or forked is not ours to take. */
static int wait_stop(struct tracing *tracing, int *status)
{
    for (;;) {
        siginfo_t peeked;
        int options = WEXITED | WSTOPPED | WNOWAIT | __WALL | __WNOTHREAD;
        if (waitid(P_ALL, 0, &peeked, options) && errno == ECHILD)
            return -ESRCH;
        pid_t found = waitpid(tracing->tid, status, __WALL | __WNOTHREAD | WNOHANG);
        if (found < 0 && errno == ECHILD && tracing->tgid != tracing->tid) {
            found = waitpid(tracing->tgid, status, __WALL | __WNOTHREAD | WNOHANG);
        }
        if (found < 0 && errno == ECHILD)
            return -ESRCH;
        if (found > 0) {
            tracing->stopped = found;
            return WIFSTOPPED(*status) ? 0 : -ESRCH;
        }
        struct timespec moment = {0, 100000}; /* another child of this thread has something to say */
        nanosleep(&moment, NULL);
    }
}

static int bury(struct tracing *tracing)
{
    int status;
    while (wait_stop(tracing, &status) == 0)
        ;
    return -ESRCH;
}

static void set_call(struct user_regs_struct *regs, uint32_t arch, long number, const uint64_t args[6])
{
    regs->rip -= INSTRUCTION;
    regs->orig_rax = -1;
    regs->rax = number;
    if (arch == AUDIT_ARCH_I386) {
        regs->rbx = (uint32_t)args[0];
        regs->rcx = (uint32_t)args[1];
        regs->rdx = (uint32_t)args[2];
        regs->rsi = (uint32_t)args[3];
        regs->rdi = (uint32_t)args[4];
        regs->rbp = (uint32_t)args[5];
    } else {
        regs->rdi = args[0];
        regs->rsi = args[1];
        regs->rdx = args[2];
        regs->r10 = args[3];
        regs->r8 = args[4];
        regs->r9 = args[5];
    }
}

static bool wants_restart(long result)
{
    return result <= -ERESTARTSYS && result >= -ERESTART_RESTARTBLOCK;
}

/* 0 with the call's result, EXECED, or -ESRCH. `regs` are those behind the trapped instruction. */
static int run(struct tracing *tracing, struct user_regs_struct regs, long number, const uint64_t args[6],
               long *result)
{
    set_call(&regs, tracing->arch, number, args);
    if (ptrace(PTRACE_SETREGS, tracing->stopped, 0, &regs))
        return bury(tracing);
    bool entered = false;
    long deliver = 0;
    for (;;) {
        int status;
        if (ptrace(PTRACE_SYSCALL, tracing->stopped, 0, deliver))
            return bury(tracing);
        if (wait_stop(tracing, &status))
            return -ESRCH;
        int event = status >> 16, signal = WSTOPSIG(status);
        deliver = 0;
        if (event == PTRACE_EVENT_EXEC)
            return EXECED;
        if (event == 0 && signal != SYSTEM_CALL_STOP)
            deliver = signal; /* a SIGSTOP, the one that cannot be blocked: its group stop holds after the detach */
        if (signal != SYSTEM_CALL_STOP)
            continue;
        if (!entered) {
            entered = true;
            continue;
        }
        struct user_regs_struct after;
        if (ptrace(PTRACE_GETREGS, tracing->stopped, 0, &after))
            return bury(tracing);
        *result = tracing->arch == AUDIT_ARCH_I386 ? (int32_t)after.rax : (long)after.rax;
        if (!wants_restart(*result))
            return 0;
        entered = false;
        if (ptrace(PTRACE_SETREGS, tracing->stopped, 0, &regs))
            return bury(tracing);
    }
}

/* To the PTRACE_EVENT_STOP that PTRACE_INTERRUPT asked for. */
static int reach_stop(struct tracing *tracing)
{
    int status;
    for (;;) {
        if (wait_stop(tracing, &status))
            return -ESRCH;
        if (status >> 16 == PTRACE_EVENT_STOP)
            return 0;
        long deliver = status >> 16 ? 0 : WSTOPSIG(status);
        if (ptrace(PTRACE_CONT, tracing->stopped, 0, deliver))
            return bury(tracing);
    }
}

static int let_go(struct tracing *tracing)
{
    return ptrace(PTRACE_DETACH, tracing->stopped, 0, 0) ? bury(tracing) : 0;
}

/* The tracee stands behind its trapped instruction: run the call and `close`, put all registers back. */
static int replace(struct tracing *tracing, const struct redirect *order, int injected, long *result)
{
    struct user_regs_struct saved;
    uint64_t mask, all = ~0ULL;
    if (ptrace(PTRACE_GETREGS, tracing->stopped, 0, &saved) ||
        ptrace(PTRACE_GETSIGMASK, tracing->stopped, SIGMASK_SIZE, &mask) ||
        ptrace(PTRACE_SETSIGMASK, tracing->stopped, SIGMASK_SIZE, &all))
        return bury(tracing);
    uint64_t args[6], closing[6] = {injected, 0, 0, 0, 0, order->cookie};
    for (int index = 0; index < 6; index++)
        args[index] = order->arguments[index];
    if (order->descriptor >= 0)
        args[order->descriptor_argument] = injected;
    if (!args[5])
        args[5] = order->cookie;
    int outcome = run(tracing, saved, order->number, args, result);
    if (outcome == EXECED) {
        *result = 0;
    } else if (outcome == 0) {
        long ignored, close = order->arch == AUDIT_ARCH_I386 ? CLOSE_I386 : CLOSE_X86_64;
        if (order->descriptor >= 0)
            outcome = run(tracing, saved, close, closing, &ignored);
        if (*result >= 0 && order->failure)
            *result = -order->failure;
        saved.rax = *result;
        if (outcome == 0 && ptrace(PTRACE_SETREGS, tracing->stopped, 0, &saved))
            outcome = bury(tracing);
    }
    if (outcome < 0)
        return outcome;
    if (ptrace(PTRACE_SETSIGMASK, tracing->stopped, SIGMASK_SIZE, &mask))
        return bury(tracing);
    return let_go(tracing);
}

/* Whether a tracee whose notification was cancelled still stands at its call, about to be restarted. */
static bool restarts(struct tracing *tracing)
{
    struct user_regs_struct regs;
    return ptrace(PTRACE_GETREGS, tracing->stopped, 0, &regs) == 0 && wants_restart(regs.rax) &&
           (long)regs.orig_rax >= 0;
}

/* Whether we may is asked only here. */
static int seize(pid_t tid)
{
    struct asking asking = {.tid = tid, .as_whom = AS_ITS_REAL_IDS};
    int refused;
    do
        refused = ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC) ? -errno : 0;
    while (ask_again(&asking, refused));
    return refused;
}

int redirect(const struct redirect *order, long *result)
{
    struct tracing tracing = {order->tid, order->tgid, order->tid, order->arch};
    if (order->descriptor_argument < 0 || order->descriptor_argument > 5)
        return -EINVAL;
    int error = seize(order->tid);
    if (error) /* -EPERM also for one that is on its way out */
        return notification_valid(order->listener, order->id) ? error : -ESRCH;
    int injected = 0;
    if (order->descriptor >= 0)
        injected = notification_add_fd(order->listener, order->id, order->descriptor, -1, true);
    ptrace(PTRACE_INTERRUPT, order->tid, 0, 0);
    int answered = notification_send(order->listener, order->id, 0, injected < 0 ? injected : -ENOSYS, 0);
    error = reach_stop(&tracing);
    if (error)
        return error;
    if (injected < 0 || (answered < 0 && !restarts(&tracing))) {
        *result = injected;
        error = let_go(&tracing);
        return error ? error : answered;
    }
    return replace(&tracing, order, injected, result);
}
