/* The program that runs a script for which the kernel would not find the interpreter, or the right $0.
 *
 * It is executed in place of the script, asks the broker what to run, and runs it: INTERPRETER [ARGUMENT] SCRIPT
 * ARGV[1]... Static, without libc, and with raw system calls, so that it starts in no time and needs nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>

enum { ANSWER_SIZE = 8192, NOT_FOUND = 127, NOT_EXECUTABLE = 126 };

/* The broker answers readlink(2) of this name with INTERPRETER \0 ARGUMENT (may be empty) \0 SCRIPT \0. */
static const char QUESTION[] = "/.seccomp-drive-exec";

static long call(long number, const void *first, const void *second, const void *third)
{
    long result;
    register long r10 __asm__("r10") = 0;
    register long r8 __asm__("r8") = 0;
    register long r9 __asm__("r9") = 0;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(first), "S"(second), "d"(third), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static size_t length_of(const char *text)
{
    size_t length = 0;
    while (text[length])
        length++;
    return length;
}

static void add(char *line, size_t *used, const char *text)
{
    while (*text && *used < ANSWER_SIZE)
        line[(*used)++] = *text++;
}

static const char *reason(long error)
{
    switch (error) {
    case -ENOENT:
        return "not found; install it, or change the first line of the script";
    case -EACCES:
        return "may not be executed; give it the execute permission";
    case -E2BIG:
        return "cannot be run with so many arguments; pass fewer";
    default:
        return "cannot be run; try to run it by itself to see why";
    }
}

static void complain(const char *script, const char *interpreter, const char *why)
{
    char line[ANSWER_SIZE];
    size_t used = 0;
    add(line, &used, "seccomp-drive: ");
    add(line, &used, script);
    add(line, &used, ": ");
    add(line, &used, interpreter);
    add(line, &used, " ");
    add(line, &used, why);
    add(line, &used, "\n");
    call(SYS_write, (void *)2, line, (void *)used);
}

static void leave(long status)
{
    for (;;)
        call(SYS_exit_group, (void *)status, NULL, NULL);
}

/* `stack` is what the kernel left there: argc, argv[0]..., NULL, environment..., NULL; two free words precede it. */
__attribute__((used, noreturn)) void start(char **stack)
{
    long count = (long)stack[0];
    char **arguments = stack + 1, **environment = arguments + count + 1;
    static char answer[ANSWER_SIZE + 1];
    long length = call(SYS_readlink, QUESTION, answer, (void *)ANSWER_SIZE);
    if (length <= 0) {
        complain("this script", "its interpreter", "is not known; run it as an argument of its interpreter");
        leave(NOT_EXECUTABLE);
    }
    char *interpreter = answer;
    char *argument = interpreter + length_of(interpreter) + 1;
    char *script = argument + length_of(argument) + 1;
    /* The new vector is built over the old one: the script takes the place of argv[0], argc and a free word the rest. */
    char **vector = count > 0 ? arguments : arguments - 1;
    if (count == 0)
        arguments[-1] = script;
    vector[0] = script;
    if (*argument)
        *--vector = argument;
    *--vector = interpreter;
    long error = call(SYS_execve, interpreter, vector, environment);
    complain(script, interpreter, reason(error));
    leave(error == -ENOENT ? NOT_FOUND : NOT_EXECUTABLE);
    __builtin_unreachable();
}

__asm__(".globl _start\n"
        "_start:\n"
        "xorl %ebp, %ebp\n"
        "movq %rsp, %rdi\n"
        "subq $32, %rsp\n"
        "andq $-16, %rsp\n"
        "call start\n");
