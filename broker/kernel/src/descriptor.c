#define _GNU_SOURCE
#include "asking.h"
#include "tracee.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_pidfd(pid_t tid)
{
    int pidfd = syscall(SYS_pidfd_open, tid, O_EXCL); /* PIDFD_THREAD, since 6.9 */
    if (pidfd >= 0 || errno != EINVAL)
        return pidfd < 0 ? -errno : pidfd;
    struct tracee_status status;
    int error = tracee_status(tid, &status);
    if (error)
        return error;
    free(status.groups);
    pidfd = syscall(SYS_pidfd_open, status.tgid, 0);
    return pidfd < 0 ? -errno : pidfd;
}

int tracee_copy_descriptor(pid_t tid, int fd)
{
    int pidfd = open_pidfd(tid);
    if (pidfd < 0)
        return pidfd;
    struct asking asking = {.tid = tid, .as_whom = AS_ITS_REAL_IDS};
    int copy;
    do {
        copy = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
        copy = copy < 0 ? -errno : copy;
    } while (ask_again(&asking, copy));
    close(pidfd);
    return copy;
}

/* The bits of a link in /proc/TID/fd are those of the open mode (proc_pid_fd(5)). */
static bool can_write(pid_t tid, int folder, const char *name)
{
    struct asking asking = {.tid = tid, .as_whom = AS_ITS_EFFECTIVE_IDS};
    struct stat link;
    long result;
    do
        result = fstatat(folder, name, &link, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
    while (ask_again(&asking, result));
    return !result && link.st_mode & S_IWUSR;
}

int tracee_other_writer(pid_t tid, int fd)
{
    char path[PATH_MAX + 1], other[PATH_MAX + 1];
    long length = tracee_link(tid, fd, path, sizeof path);
    if (length < 0)
        return length == -ENOENT ? -EBADF : length;
    int folder = tracee_open(tid, "fd", O_RDONLY | O_DIRECTORY);
    if (folder < 0)
        return folder;
    DIR *entries = fdopendir(folder);
    if (!entries) {
        close(folder);
        return -ENOMEM;
    }
    int found = -ENOENT;
    for (struct dirent *entry; found < 0 && (entry = readdir(entries));) {
        int number = atoi(entry->d_name);
        if (entry->d_name[0] != '.' && number != fd && tracee_link(tid, number, other, sizeof other) == length &&
            !memcmp(path, other, length) && can_write(tid, folder, entry->d_name))
            found = number;
    }
    closedir(entries);
    return found;
}

int tracee_free_number(pid_t tid, int first, int last)
{
    char start[2];
    for (int number = first; number <= last; number++) {
        long length = tracee_link(tid, number, start, sizeof start);
        if (length == -ENOENT)
            return number;
        if (length < 0)
            return length;
    }
    return -ENOENT;
}
