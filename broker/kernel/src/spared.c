#define _GNU_SOURCE
#include "spared.h"

#include <string.h>
#include <sys/stat.h>

enum { RANGE_START = 768, RANGE_END = 1023 }; /* broker.table */

static const mode_t SET_ID = S_ISUID | S_ISGID;

/* The drive whose mirror holds what the descriptor stands for, or -1. */
static int drive_of(const struct court *court, struct trapped *trapped, int fd)
{
    char target[PATH_LIMIT];
    long length = tracee_kept_link(&trapped->kept, trapped->notification.pid, fd, target, sizeof target);
    for (size_t drive = 0; length > 0 && drive < court->warm->count; drive++) {
        struct text root = court->warm->drives[drive].root;
        if ((size_t)length > root.length && !memcmp(target, root.bytes, root.length) && target[root.length] == '/')
            return drive;
    }
    return -1;
}

static bool keeps(__u64 argument, unsigned now)
{
    return (unsigned)argument == now || (unsigned)argument == (unsigned)-1;
}

/* A push compares no owners, and only the remote has set-id bits: such changes it must be told at once. In another user
 * namespace the ids of ours are other owners. */
static bool is_pushed(struct court *court, struct trapped *trapped, const struct stat *file)
{
    const __u64 *args = trapped->notification.data.args;
    switch (trapped->row->sets) {
    case SETS_MODE:
        return !(args[1] & SET_ID);
    case SETS_OWNER:
        return keeps(args[1], file->st_uid) && keeps(args[2], file->st_gid) && caller_of(court, trapped).own;
    case SETS_TIMES:
        return !args[1];
    default:
        return false;
    }
}

static bool is_left_to_close(struct court *court, struct trapped *trapped)
{
    const struct seccomp_notif *notification = &trapped->notification;
    int fd = (int)notification->data.args[0];
    struct stat file;
    struct shown shown;
    bool writes;
    if (trapped->row->sets == SETS_NOTHING || fd < RANGE_START || fd > RANGE_END)
        return false;
    int drive = drive_of(court, trapped, fd);
    return drive >= 0 && !tracee_kept_stat(&trapped->kept, notification->pid, fd, &file, &writes) && writes &&
           is_pushed(court, trapped, &file) &&
           warm_shown(court->warm, drive, file.st_ino, &shown) && shown.dirty && !shown.set_id;
}

/* What the kernel shows of an open file lacks the set-id bits that only the remote has; links and blocks are the mirror's. */
static bool shows_all(struct court *court, struct trapped *trapped)
{
    const struct row *row = trapped->row;
    struct stat file;
    struct shown shown;
    bool writes;
    if (row->shows == SHOWS_NOTHING || trapped->lengths[0] > 0 || row->paths[0].dirfd == ABSENT)
        return false;
    int fd = (int)trapped->notification.data.args[row->paths[0].dirfd];
    int drive = fd < 0 ? -1 : drive_of(court, trapped, fd);
    if (drive < 0 || tracee_kept_stat(&trapped->kept, trapped->notification.pid, fd, &file, &writes))
        return false;
    return !S_ISREG(file.st_mode) || (warm_shown(court->warm, drive, file.st_ino, &shown) && !shown.set_id);
}

bool kernel_suffices(struct court *court, struct trapped *trapped)
{
    return court->warm && (is_left_to_close(court, trapped) || shows_all(court, trapped));
}
