#define _GNU_SOURCE
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PERMISSIONS = 07777, SET_ID = S_ISUID | S_ISGID, SECOND = 1000000000 };

static uint64_t moment(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + now.tv_nsec;
}

static struct timespec time_of(int64_t ns)
{
    int64_t rest = (ns % SECOND + SECOND) % SECOND; /* utimensat(2) has no negative part of a second */
    return (struct timespec){(ns - rest) / SECOND, rest};
}

static int64_t inode_of(int folder, const char *name)
{
    struct stat found;
    return fstatat(folder, name, &found, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : (int64_t)found.st_ino;
}

/* All by its descriptor: of 100,000 names in a folder, each look at the path is felt. */
static int64_t finish_regular(int file, const struct placeholder *wanted, mode_t mode, const struct timespec times[2])
{
    struct stat found;
    if (fstat(file, &found) < 0 || (wanted->size && ftruncate(file, wanted->size) < 0))
        return -errno;
    bool foreign = wanted->owned && (wanted->uid != found.st_uid || wanted->gid != found.st_gid);
    if (foreign && fchown(file, wanted->uid, wanted->gid) < 0)
        return -errno;
    bool masked = (found.st_mode & PERMISSIONS) != mode; /* by the umask, or a default ACL */
    if ((masked && fchmod(file, mode) < 0) || futimens(file, times) < 0)
        return -errno;
    return found.st_ino;
}

static int64_t make_regular(int folder, const struct placeholder *wanted, const struct timespec times[2])
{
    mode_t mode = wanted->mode & PERMISSIONS & ~SET_ID; /* a mirror is nosuid */
    int file = openat(folder, wanted->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (file < 0)
        return -errno;
    int64_t made = finish_regular(file, wanted, mode, times);
    close(file);
    if (made < 0)
        unlinkat(folder, wanted->name, 0);
    return made;
}

static int64_t finish_other(int folder, const struct placeholder *wanted, const struct timespec times[2])
{
    mode_t mode = wanted->mode & PERMISSIONS & ~(S_ISDIR(wanted->mode) ? 0 : SET_ID);
    if (wanted->owned && fchownat(folder, wanted->name, wanted->uid, wanted->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (!S_ISLNK(wanted->mode) && fchmodat(folder, wanted->name, mode, 0) < 0)
        return -errno;
    if (utimensat(folder, wanted->name, times, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return inode_of(folder, wanted->name);
}

static int make_other(int folder, const struct placeholder *wanted)
{
    if (S_ISDIR(wanted->mode))
        return mkdirat(folder, wanted->name, S_IRWXU);
    if (S_ISLNK(wanted->mode))
        return symlinkat(wanted->target, folder, wanted->name);
    return mknodat(folder, wanted->name, (wanted->mode & S_IFMT) | S_IRUSR | S_IWUSR, wanted->rdev);
}

static int64_t make(int folder, const struct placeholder *wanted)
{
    const struct timespec times[2] = {time_of(wanted->atime_ns), time_of(wanted->mtime_ns)};
    if (S_ISREG(wanted->mode))
        return make_regular(folder, wanted, times);
    if (make_other(folder, wanted) < 0)
        return -errno;
    int64_t made = finish_other(folder, wanted, times);
    if (made < 0)
        unlinkat(folder, wanted->name, S_ISDIR(wanted->mode) ? AT_REMOVEDIR : 0);
    return made;
}

size_t place(int folder, struct placeholder *wanted, size_t count, uint64_t nanoseconds)
{
    uint64_t until = moment() + nanoseconds;
    size_t done = 0;
    while (done < count) {
        wanted[done].made = make(folder, &wanted[done]);
        if (++done < count && moment() >= until)
            break;
    }
    return done;
}

void find(int folder, struct placeholder *wanted, size_t count)
{
    for (size_t index = 0; index < count; index++)
        wanted[index].made = inode_of(folder, wanted[index].name);
}
