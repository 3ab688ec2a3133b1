#define _GNU_SOURCE
#include "scripts.h"

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

/* The first bytes of a regular file, NUL-terminated; false where there is none. Others are not opened: that can
 * have effects. */
static bool read_head(int found, char *head)
{
    struct stat status;
    char name[32];
    if (fstat(found, &status) || !S_ISREG(status.st_mode))
        return false;
    snprintf(name, sizeof name, "/proc/self/fd/%d", found);
    int file = open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (file < 0)
        return false;
    ssize_t length = pread(file, head, HEAD, 0);
    close(file);
    if (length < 0)
        return false;
    head[length] = 0;
    return true;
}

/* The interpreter in a first line, cut out of it in place; NULL when it is not a script (execve(2)). */
static char *interpreter_in(char *head)
{
    if (head[0] != '#' || head[1] != '!')
        return NULL;
    head[strcspn(head, "\n")] = 0;
    char *interpreter = head + 2 + strspn(head + 2, " \t");
    interpreter[strcspn(interpreter, " \t")] = 0;
    return *interpreter ? interpreter : NULL;
}

bool script_concerns(struct court *court, const struct trapped *trapped, bool other_root)
{
    const struct seccomp_notif *notification = &trapped->notification;
    int argument = trapped->row->paths[0].dirfd;
    int fd = argument == ABSENT ? AT_FDCWD : (int)notification->data.args[argument];
    const char *path = trapped->lengths[0] > 0 ? trapped->paths[0] : "";
    if (!strncmp(path, "/proc/", 6) || (!*path && fd < 0))
        return false; /* ours would be another file than the tracee's */
    char heads[2][HEAD + 1];
    for (int depth = 0; depth < NESTED; depth++) {
        int found = open_path(notification->pid, fd, path, other_root);
        if (found < 0)
            return false;
        char *head = heads[depth % 2]; /* `path` may lie in the other one */
        bool read = read_head(found, head);
        close(found);
        char *interpreter = read ? interpreter_in(head) : NULL;
        if (!interpreter)
            return false;
        if (interpreter_concerns(court, notification->pid, interpreter, other_root))
            return true;
        path = interpreter;
    }
    return false;
}
