#define _GNU_SOURCE
#include "scripts.h"

#include "elf.h"
#include "tracee.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    HEAD = 256, /* BINPRM_BUF_SIZE: what the kernel looks at */
    NESTED = 5, /* scripts of scripts, after which execve says ELOOP */
};

static int open_in_root(pid_t tid, const char *path)
{
    int root = tracee_open(tid, "root", O_PATH | O_DIRECTORY);
    if (root < 0)
        return -1;
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
    int file = syscall(SYS_openat2, root, path, &how, sizeof how);
    close(root);
    return file;
}

static int open_path(pid_t tid, int fd, const char *path, bool other_root)
{
    if (path[0] == '/')
        return other_root ? open_in_root(tid, path) : open(path, O_PATH | O_CLOEXEC);
    int base = tracee_open_base(tid, fd, O_PATH);
    if (base < 0 || !path[0])
        return base;
    int file = openat(base, path, O_PATH | O_CLOEXEC);
    close(base);
    return file;
}

/* The regular file behind `found`, or -1. Others are not opened: that can have effects. */
static int reopen(int found)
{
    struct stat status;
    char name[32];
    if (fstat(found, &status) || !S_ISREG(status.st_mode))
        return -1;
    snprintf(name, sizeof name, "/proc/self/fd/%d", found);
    return open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* The interpreter in a first line (execve(2)); false where it is not a script. */
static bool script_interpreter(int file, char path[PATH_LIMIT])
{
    char head[HEAD + 1];
    ssize_t length = pread(file, head, HEAD, 0);
    if (length < 2 || head[0] != '#' || head[1] != '!')
        return false;
    head[length] = 0;
    head[strcspn(head, "\n")] = 0;
    char *interpreter = head + 2 + strspn(head + 2, " \t");
    interpreter[strcspn(interpreter, " \t")] = 0;
    strcpy(path, interpreter);
    return *interpreter;
}

enum kind { RUNS_ALONE, IS_SCRIPT, IS_PROGRAM };

static enum kind interpreter_of(int found, char path[PATH_LIMIT])
{
    int file = reopen(found);
    if (file < 0)
        return RUNS_ALONE;
    enum kind kind = script_interpreter(file, path)     ? IS_SCRIPT
                     : elf_interpreter(file, path) > 0 ? IS_PROGRAM
                                                       : RUNS_ALONE;
    close(file);
    return kind;
}

bool script_concerns(struct court *court, const struct trapped *trapped, bool other_root)
{
    const struct seccomp_notif *notification = &trapped->notification;
    int argument = trapped->row->paths[0].dirfd;
    int fd = argument == ABSENT ? AT_FDCWD : (int)notification->data.args[argument];
    const char *path = trapped->lengths[0] > 0 ? trapped->paths[0] : "";
    if (!strncmp(path, "/proc/", 6) || (!*path && fd < 0))
        return false; /* ours would be another file than the tracee's */
    char interpreter[PATH_LIMIT];
    for (int depth = 0; depth < NESTED; depth++) {
        int found = open_path(notification->pid, fd, path, other_root);
        if (found < 0)
            return false;
        enum kind kind = interpreter_of(found, interpreter);
        close(found);
        if (kind == RUNS_ALONE)
            return false;
        if (interpreter_concerns(court, notification->pid, interpreter, other_root))
            return true;
        if (kind == IS_PROGRAM)
            return false; /* the interpreter of an interpreter is not looked for */
        path = interpreter;
    }
    return false;
}
