#define _GNU_SOURCE
#include "deferred.h"

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
        return keeps(args[1], file->st_uid) && keeps(args[2], file->st_gid) && caller_acts_as_we_do(court, trapped);
    case SETS_TIMES:
        return !args[1];
    default:
        return false;
    }
}

bool is_left_to_close(struct court *court, struct trapped *trapped)
{
    const struct seccomp_notif *notification = &trapped->notification;
    int fd = (int)notification->data.args[0];
    struct stat file;
    struct shown shown;
    bool writes;
    if (!court->warm || trapped->row->sets == SETS_NOTHING || fd < RANGE_START || fd > RANGE_END)
        return false;
    int drive = drive_of(court, trapped, fd);
    return drive >= 0 && !tracee_kept_stat(&trapped->kept, notification->pid, fd, &file, &writes) && writes &&
           is_pushed(court, trapped, &file) &&
           warm_shown(court->warm, drive, file.st_ino, &shown) && shown.dirty && !shown.set_id;
}
