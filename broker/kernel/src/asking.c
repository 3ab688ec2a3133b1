#define _GNU_SOURCE
#include "asking.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Raw calls throughout: libc's wrappers of these change every thread of the process. */

static const unsigned UNCHANGED = -1;

static bool set_capabilities(const struct asking *asking)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    return !syscall(SYS_capset, &header, asking->capabilities);
}

static bool remember(struct asking *asking)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    return !getresuid(&asking->uids[0], &asking->uids[1], &asking->uids[2]) &&
           !getresgid(&asking->gids[0], &asking->gids[1], &asking->gids[2]) &&
           !syscall(SYS_capget, &header, asking->capabilities);
}

static void give_back(struct asking *asking)
{
    asking->as_somebody_else = false;
    /* The saved ids are still ours, so neither needs a capability; the effective ones went with user id 0. */
    if (syscall(SYS_setresuid, asking->uids[0], asking->uids[1], asking->uids[2]) ||
        syscall(SYS_setresgid, asking->gids[0], asking->gids[1], asking->gids[2]) || !set_capabilities(asking))
        abort(); /* going on as somebody else would be worse */
}

static bool take(struct asking *asking)
{
    char name[32];
    struct stat owner; /* /proc/TID belongs to the effective ids; one with several is closed to everybody's ids */
    snprintf(name, sizeof name, "/proc/%d", asking->tid);
    if (stat(name, &owner) || !remember(asking))
        return false;
    int first = asking->as_whom == AS_ITS_REAL_IDS ? 0 : 1;
    if (asking->uids[first] == owner.st_uid && asking->gids[first] == owner.st_gid)
        return false;
    asking->as_somebody_else = true;
    if (!syscall(SYS_setresgid, first ? UNCHANGED : owner.st_gid, owner.st_gid, UNCHANGED) &&
        !syscall(SYS_setresuid, first ? UNCHANGED : owner.st_uid, owner.st_uid, UNCHANGED) &&
        set_capabilities(asking)) /* a tracee may have some of its own, which its reader must have as well */
        return true;
    give_back(asking);
    return false;
}

bool ask_again(struct asking *asking, long result)
{
    if (asking->as_somebody_else) {
        int error = errno;
        give_back(asking);
        errno = error;
        return false;
    }
    return (result == -EPERM || result == -EACCES) && take(asking);
}
