#define _GNU_SOURCE
#include "answers.h"

#include "locate.h"
#include "notification.h"
#include "witness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STATX_SYNC_TYPE = 0x6000, NO_AUTOMOUNT = 0x800, LARGE_FILE = 0100000 };

/* Instead of an error for the program: only the broker can tell. No errno is that large. */
enum { ASK = -4096 };

/* What a file may be opened with that is only read; openat(2) adds LARGE_FILE by itself, openat2(2) does not. */
static const int READING = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | LARGE_FILE;

struct request {
    bool follow;
    int flags;
    unsigned mask;
};

/* What is written into the tracee. */
union status {
    struct stat stat;
    struct statx statx;
};

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

/* 0, -errno for the program, or ASK. */
static int look(const struct court *court, const struct row *row, const struct request *request,
                const struct identity *as, const struct place *place, const struct base *base, uint64_t now,
                union status *status)
{
    struct warm *warm = court->warm;
    int file = open_as(as, &warm->drives[place->drive], base, place->path, O_PATH | O_NOFOLLOW);
    if (file < 0)
        return file == -ENOENT ? -ENOENT : ASK;
    bool extended = row->shows == SHOWS_STATX;
    int failed = extended
        ? statx(file, "", (request->flags & STATX_SYNC_TYPE) | AT_EMPTY_PATH, request->mask | STATX_TYPE | STATX_INO, &status->statx)
        : fstat(file, &status->stat);
    close(file);
    if (failed)
        return ASK;
    unsigned mode = extended ? status->statx.stx_mode : status->stat.st_mode;
    if (S_ISLNK(mode) && request->follow)
        return ASK;
    if (S_ISDIR(mode))
        return warm_is_listed(warm, place->drive, place->path, place->length, now) ? 0 : ASK;
    struct shown shown;
    if (!warm_shown(warm, place->drive, extended ? status->statx.stx_ino : status->stat.st_ino, &shown))
        return ASK;
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

static bool answer_stat(struct court *court, struct trapped *trapped, const struct identity *as,
                        const struct place *place, const struct base *base, uint64_t now)
{
    const struct seccomp_notif *notification = &trapped->notification;
    const struct row *row = trapped->row;
    struct request request;
    union status status;
    if (!understand(trapped, &request) || !warm_is_fresh(court->warm, place->drive, place->path, place->length, now))
        return false;
    int error = look(court, row, &request, as, place, base, now, &status);
    if (error == ASK || (error == -ENOENT && has_moved(trapped, base)))
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

/* 0 or -errno. */
static int stat_at(int root, const char *path, struct stat *status)
{
    int node = open_beneath(root, path, O_PATH | O_NOFOLLOW);
    if (node < 0)
        return node;
    int error = fstat(node, status) ? -errno : 0;
    close(node);
    return error;
}

static bool remote_has(struct warm *warm, const struct place *place, uint64_t inode, uint64_t version)
{
    const struct drive *drive = &warm->drives[place->drive];
    struct stat theirs;
    if (drive->folder < 0)
        return warm_is_witnessed(warm, place->drive, place->path, place->length, inode, version);
    return !stat_at(drive->folder, place->path, &theirs) && version_key(warm->seed, &theirs) == version;
}

/* A folder that was removed says that of every name. */
static bool remote_lacks(struct warm *warm, const struct place *place)
{
    const struct drive *drive = &warm->drives[place->drive];
    struct stat theirs;
    if (drive->folder < 0)
        return warm_is_witnessed(warm, place->drive, place->path, place->length, 0, version_text_key(warm->seed, "", 0));
    return stat_at(drive->folder, place->path, &theirs) == -ENOENT && !fstat(drive->folder, &theirs) && theirs.st_nlink;
}

/* Whether the open `file` of the mirror is still the one that was `looked` at, complete, and what the remote has now. */
static bool is_current(struct warm *warm, const struct place *place, int file, const struct stat *looked, uint64_t now)
{
    struct stat opened;
    uint64_t version;
    return !fstat(file, &opened) && opened.st_ino == looked->st_ino &&
           warm_is_complete(warm, place->drive, opened.st_ino, now, &version) &&
           remote_has(warm, place, opened.st_ino, version);
}

/* A descriptor of the mirror's file, if its whole content is there and is what the remote has now; -ENOENT, or ASK.
 *
 * The file is open before that is asked: what is emptied for room is not open (broker.mirror.content). Who does that
 * has a lease on it meanwhile, for whose end the broker waits. */
static int open_complete(struct warm *warm, const struct identity *as, const struct place *place,
                         const struct base *base, uint64_t now, int flags)
{
    const struct drive *drive = &warm->drives[place->drive];
    struct stat looked;
    int error = stat_at(drive->root_fd, place->path, &looked);
    if (error ? error != -ENOENT : !S_ISREG(looked.st_mode))
        return ASK;
    int file = open_as(as, drive, base, place->path, flags | O_NONBLOCK);
    if (file < 0)
        return file == -ENOENT && remote_lacks(warm, place) ? -ENOENT : ASK;
    if (!error && is_current(warm, place, file, &looked, now) && (flags & O_NONBLOCK || !fcntl(file, F_SETFL, flags)))
        return file;
    close(file);
    return ASK;
}

static bool answer_open(struct court *court, struct trapped *trapped, const struct identity *as,
                        const struct place *place, const struct base *base, uint64_t now)
{
    const struct seccomp_notif *notification = &trapped->notification;
    const struct row *row = trapped->row;
    int flags = (int)notification->data.args[row->flags_argument];
    if (row->follows != FOLLOWS_UNLESS || flags & ~READING)
        return false;
    /* The witness is looked at as we are: whom the folders on the way let through, only fresh ones tell. */
    if (as && !warm_is_fresh(court->warm, place->drive, place->path, place->length, now))
        return false;
    int file = open_complete(court->warm, as, place, base, now, flags | LARGE_FILE), number = ASK;
    bool moved = has_moved(trapped, base);
    if (file == -ENOENT && !moved)
        return !notification_send(court->listener, notification->id, 0, -ENOENT, 0);
    if (file < 0)
        return false;
    if (!moved)
        number = notification_add_fd(court->listener, notification->id, file, -1, flags & O_CLOEXEC);
    close(file); /* before the reply: locks that the program gives up must be gone */
    if (number < 0)
        return false;
    notification_send(court->listener, notification->id, number, 0, 0);
    return true;
}

bool answer_warm(struct court *court, struct trapped *trapped)
{
    const struct row *row = trapped->row;
    struct normal normal;
    struct place place;
    struct base base;
    struct timespec clock;
    if (!court->warm || (row->shows == SHOWS_NOTHING && !row->opens) ||
        trapped->notification.data.arch != AUDIT_ARCH_X86_64 || trapped->lengths[0] <= 0 ||
        atomic_load(&court->rooted) || !locate(court, trapped, &normal, &place, &base))
        return false;
    const struct identities *others = trapped->caller.others;
    const struct identity *as = others ? &others->effective : NULL;
    if (!trapped->caller.own && !as)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &clock);
    uint64_t now = clock.tv_sec * 1000000000ULL + clock.tv_nsec;
    return (row->opens ? answer_open : answer_stat)(court, trapped, as, &place, &base, now);
}
