#define _GNU_SOURCE
#include "caller.h"

#include "tracee.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* struct pidfd_info in its first version, and what goes with it (linux/pidfd.h since 6.13; 6.9 for threads). */
struct facts {
    uint64_t mask, cgroup;
    uint32_t pid, tgid, parent;
    uint32_t real_uid, real_gid, effective_uid, effective_gid, saved_uid, saved_gid, fs_uid, fs_gid;
    int32_t exit_code;
};
#define GET_FACTS _IOWR(0xFF, 11, struct facts)
#define FACTS_CREDENTIALS (1ULL << 1)
#define THREAD_FLAG O_EXCL

static int open_thread(pid_t tid)
{
    return syscall(SYS_pidfd_open, tid, THREAD_FLAG);
}

static bool learn(int file, struct facts *facts)
{
    *facts = (struct facts){.mask = FACTS_CREDENTIALS};
    return !ioctl(file, GET_FACTS, facts);
}

static bool acts_as_one(const struct facts *facts, unsigned uid, unsigned gid)
{
    return facts->real_uid == uid && facts->effective_uid == uid && facts->fs_uid == uid && facts->real_gid == gid &&
           facts->effective_gid == gid && facts->fs_gid == gid;
}

static bool capabilities_of(pid_t tid, uint64_t *effective, uint64_t *permitted)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, tid};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data))
        return false;
    *effective = (uint64_t)data[1].effective << 32 | data[0].effective;
    *permitted = (uint64_t)data[1].permitted << 32 | data[0].permitted;
    return true;
}

static bool namespace_of(pid_t tid, uint64_t *device, uint64_t *inode)
{
    char name[32];
    struct stat found;
    snprintf(name, sizeof name, "/proc/%d/ns/user", tid);
    if (stat(name, &found)) /* those who have other ids are not as we are */
        return false;
    *device = found.st_dev;
    *inode = found.st_ino;
    return true;
}

static bool is_at_home(const struct own *own, pid_t tid)
{
    uint64_t device, inode;
    return namespace_of(tid, &device, &inode) && device == own->namespace_device && inode == own->namespace_inode;
}

struct own own_identity(void)
{
    struct own own = {0};
    struct facts facts;
    uint64_t permitted;
    pid_t tid = gettid();
    int file = open_thread(tid);
    if (file < 0)
        return own;
    if (learn(file, &facts)) {
        own.uid = facts.fs_uid;
        own.gid = facts.fs_gid;
        own.comparable = acts_as_one(&facts, own.uid, own.gid) &&
                         capabilities_of(tid, &own.capabilities, &permitted) && own.capabilities == permitted &&
                         namespace_of(tid, &own.namespace_device, &own.namespace_inode);
    }
    close(file);
    return own;
}

static void let_go(struct caller *caller)
{
    if (caller->tid)
        close(caller->file);
    free((unsigned *)caller->identities.effective.groups);
    *caller = (struct caller){0};
}

/* NULL when the thread is gone, or the kernel does not tell. */
static struct caller *find(const struct own *own, struct callers *callers, pid_t tid, struct facts *facts)
{
    struct caller *caller = &callers->slots[tid % (sizeof callers->slots / sizeof *callers->slots)];
    if (caller->tid == tid && learn(caller->file, facts))
        return caller;
    let_go(caller);
    int file = open_thread(tid);
    if (file < 0)
        return NULL;
    *caller = (struct caller){.tid = tid, .file = file, .at_home = is_at_home(own, tid)};
    return learn(file, facts) ? caller : NULL;
}

/* Before anybody has called setgroups(2) all have those of the program. Afterwards they are read for each call: a thread's
 * id, and its process file descriptor, may be another's by then, who has taken them over by an execve(2) (de_thread in
 * fs/exec.c). */
static bool know_groups(struct caller *caller, bool regrouped)
{
    struct tracee_status status;
    struct identity *identity = &caller->identities.effective;
    if (caller->grouped && !regrouped)
        return true;
    if (tracee_status(caller->tid, &status))
        return false;
    free((unsigned *)identity->groups);
    identity->groups = status.groups;
    identity->group_count = status.group_count;
    caller->grouped = true;
    return true;
}

static bool can_be_others(const struct own *own)
{
    uint64_t needed = 1ULL << CAP_SETUID | 1ULL << CAP_SETGID;
    return (own->capabilities & needed) == needed;
}

struct whom caller_whom(const struct own *own, struct callers *callers, pid_t tid, bool regrouped, bool moved)
{
    struct whom whom = {0};
    struct facts facts;
    uint64_t capabilities, permitted;
    if (!own->comparable)
        return whom;
    struct caller *caller = find(own, callers, tid, &facts);
    if (!caller || !capabilities_of(tid, &capabilities, &permitted) || !(moved ? is_at_home(own, tid) : caller->at_home))
        return whom;
    whom.own = !regrouped && acts_as_one(&facts, own->uid, own->gid) && capabilities == own->capabilities &&
               permitted == own->capabilities;
    if (whom.own || moved || !can_be_others(own) || !know_groups(caller, regrouped))
        return whom;
    struct identity *effective = &caller->identities.effective, *real = &caller->identities.real;
    effective->fsuid = facts.fs_uid;
    effective->fsgid = facts.fs_gid;
    effective->capabilities = capabilities;
    *real = *effective;
    real->fsuid = facts.real_uid;
    real->fsgid = facts.real_gid;
    real->capabilities = facts.real_uid ? 0 : permitted; /* access(2) */
    whom.others = &caller->identities;
    return whom;
}

void callers_close(struct callers *callers)
{
    for (size_t slot = 0; slot < sizeof callers->slots / sizeof *callers->slots; slot++)
        let_go(&callers->slots[slot]);
}
