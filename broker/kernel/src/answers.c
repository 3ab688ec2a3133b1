#define _GNU_SOURCE
#include "answers.h"

#include "notification.h"
#include "warm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { STATX_SYNC_TYPE = 0x6000, NO_AUTOMOUNT = 0x800 };

struct place { /* a normal path on a drive, relative to its root; not the root itself */
    size_t drive;
    const char *path;
    size_t length;
};

struct base { /* the folder that a relative path begins in */
    long length; /* 0 for an absolute path */
    char path[PATH_LIMIT];
};

struct request {
    bool follow;
    int flags;
    unsigned mask;
};

/* What the kernel puts behind the path of a file without a name (d_path in fs/d_path.c). */
static const char DELETED[] = " (deleted)";

/* What is written into the tracee. */
union status {
    struct stat stat;
    struct statx statx;
};

static bool is_below(struct text folder, const struct normal *normal)
{
    return normal->length > folder.length + 1 && !memcmp(normal->path, folder.bytes, folder.length) &&
           normal->path[folder.length] == '/';
}

static bool ends_in(const char *text, size_t length, const char *end, size_t size)
{
    return length >= size && !memcmp(text + length - size, end, size);
}

static void find_base(struct trapped *trapped, struct base *base)
{
    int argument = trapped->row->paths[0].dirfd;
    int fd = argument == ABSENT ? AT_FDCWD : (int)trapped->notification.data.args[argument];
    base->length = tracee_base(&trapped->kept, trapped->notification.pid, fd, base->path, sizeof base->path);
}

/* Whether the folder has another path by now: there the kernel would find what we did not. */
static bool has_moved(struct trapped *trapped, const struct base *before)
{
    struct base base;
    if (!before->length)
        return false;
    find_base(trapped, &base);
    return base.length != before->length || memcmp(base.path, before->path, base.length);
}

/* A path of ordinary names on a drive: absolute, with a scheme, or relative to a folder in a mirror. */
static bool locate(const struct court *court, struct trapped *trapped, struct normal *normal, struct place *place,
                   struct base *base)
{
    base->length = 0;
    const char *path = trapped->paths[0];
    size_t length = trapped->lengths[0];
    const struct warm *warm = court->warm;
    if (path[length - 1] == '/' || (length > 1 && path[length - 1] == '.' && path[length - 2] == '/'))
        return false;
    char joined[JOINED_LIMIT];
    const char *whole = path;
    bool absolute = path[0] == '/';
    for (size_t drive = 0; !absolute && drive < warm->count; drive++) {
        struct text prefix = warm->drives[drive].prefix;
        if (warm->drives[drive].scheme && length > prefix.length && !memcmp(path, prefix.bytes, prefix.length)) {
            normalise(&court->prefixes, path + prefix.length, normal);
            *place = (struct place){drive, normal->path + 1, normal->length - 1};
            return !normal->climbs && place->length;
        }
    }
    if (!absolute) {
        find_base(trapped, base);
        if (base->length <= 0 || base->path[0] != '/' || ends_in(base->path, base->length, DELETED, sizeof DELETED - 1))
            return false;
        memcpy(joined, base->path, base->length);
        joined[base->length] = '/';
        memcpy(joined + base->length + 1, path, length + 1);
        whole = joined;
    }
    normalise(&court->prefixes, whole, normal);
    if (normal->climbs)
        return false;
    for (size_t drive = 0; drive < warm->count; drive++) {
        struct text folder = absolute ? warm->drives[drive].prefix : warm->drives[drive].root;
        if ((!absolute || !warm->drives[drive].scheme) && is_below(folder, normal)) {
            *place = (struct place){drive, normal->path + folder.length + 1, normal->length - folder.length - 1};
            return true;
        }
    }
    return false;
}

static bool understand(const struct trapped *trapped, struct request *request)
{
    const struct row *row = trapped->row;
    const __u64 *args = trapped->notification.data.args;
    bool flagged = row->follows == FOLLOWS_UNLESS;
    request->flags = flagged ? (int)args[row->flags_argument] : 0;
    request->follow = row->follows == FOLLOWS || (flagged && !(request->flags & AT_SYMLINK_NOFOLLOW));
    request->mask = row->shows == SHOWS_STATX ? (unsigned)args[3] : 0;
    int known = AT_SYMLINK_NOFOLLOW | NO_AUTOMOUNT | (row->shows == SHOWS_STATX ? STATX_SYNC_TYPE : 0);
    return !(request->flags & ~known) && !(request->mask & STATX__RESERVED);
}

/* 0, -errno for the program, or 1 where only the broker can tell. */
static int look(const struct court *court, const struct row *row, const struct request *request,
                const struct place *place, uint64_t now, union status *status)
{
    struct open_how how = {
        .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    struct warm *warm = court->warm;
    int file = syscall(SYS_openat2, warm->drives[place->drive].root_fd, place->path, &how, sizeof how);
    if (file < 0)
        return errno == ENOENT ? -ENOENT : 1;
    bool extended = row->shows == SHOWS_STATX;
    int failed = extended
        ? statx(file, "", (request->flags & STATX_SYNC_TYPE) | AT_EMPTY_PATH, request->mask | STATX_TYPE | STATX_INO, &status->statx)
        : fstat(file, &status->stat);
    close(file);
    if (failed)
        return 1;
    unsigned mode = extended ? status->statx.stx_mode : status->stat.st_mode;
    if (S_ISLNK(mode) && request->follow)
        return 1;
    if (S_ISDIR(mode))
        return warm_is_listed(warm, place->drive, place->path, place->length, now) ? 0 : 1;
    struct shown shown;
    if (!warm_shown(warm, place->drive, extended ? status->statx.stx_ino : status->stat.st_ino, &shown))
        return 1;
    if (extended) {
        status->statx.stx_mode |= shown.set_id;
        status->statx.stx_nlink = shown.has_nlink ? shown.nlink : status->statx.stx_nlink;
        status->statx.stx_blocks = shown.has_blocks ? shown.blocks : status->statx.stx_blocks;
    } else {
        status->stat.st_mode |= shown.set_id;
        status->stat.st_nlink = shown.has_nlink ? shown.nlink : status->stat.st_nlink;
        status->stat.st_blocks = shown.has_blocks ? (blkcnt_t)shown.blocks : status->stat.st_blocks;
    }
    return 0;
}

bool answer_warm(struct court *court, struct trapped *trapped)
{
    const struct seccomp_notif *notification = &trapped->notification;
    const struct row *row = trapped->row;
    struct normal normal;
    struct place place;
    struct base base;
    struct request request;
    union status status;
    struct timespec clock;
    if (!court->warm || row->shows == SHOWS_NOTHING || notification->data.arch != AUDIT_ARCH_X86_64 ||
        trapped->lengths[0] <= 0 || atomic_load(&court->rooted) || !understand(trapped, &request) ||
        !locate(court, trapped, &normal, &place, &base))
        return false;
    clock_gettime(CLOCK_MONOTONIC, &clock);
    uint64_t now = clock.tv_sec * 1000000000ULL + clock.tv_nsec;
    if (!warm_is_fresh(court->warm, place.drive, place.path, place.length, now))
        return false;
    int error = look(court, row, &request, &place, now, &status);
    if (error > 0 || (error == -ENOENT && has_moved(trapped, &base)))
        return false;
    if (!error) {
        size_t size = row->shows == SHOWS_STATX ? sizeof status.statx : sizeof status.stat;
        if (!notification_valid(court->listener, notification->id))
            return true;
        error = tracee_write(notification->pid, notification->data.args[row->output], &status, size);
        if (error && error != -EFAULT)
            return false;
    }
    notification_send(court->listener, notification->id, 0, error, 0);
    return true;
}
