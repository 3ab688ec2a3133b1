#define _GNU_SOURCE
#include "judge.h"

#include "asking.h"
#include "scripts.h"
#include "signals.h"
#include "tracee.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IN_PASSING = 4 };

/* 0 or -errno. */
static int root_at(const char *path, struct root *root)
{
    struct statx found;
    if (statx(AT_FDCWD, path, 0, STATX_INO | STATX_MNT_ID, &found))
        return -errno;
    *root = (struct root){found.stx_ino, found.stx_mnt_id, found.stx_dev_major, found.stx_dev_minor};
    return 0;
}

struct root own_root(void)
{
    struct root root = {0};
    root_at("/", &root);
    return root;
}

static bool is_elsewhere(const struct court *court, pid_t tid)
{
    char name[32];
    struct root root = {0};
    struct asking asking = {.tid = tid, .as_whom = AS_ITS_EFFECTIVE_IDS};
    int error;
    snprintf(name, sizeof name, "/proc/%d/root", tid);
    do
        error = root_at(name, &root);
    while (ask_again(&asking, error));
    return memcmp(&root, &court->root, sizeof root) != 0;
}

static bool has_other_root(const struct court *court, pid_t tid)
{
    return atomic_load_explicit(&court->rooted, memory_order_relaxed) && is_elsewhere(court, tid);
}

static bool handed_out(const struct court *court)
{
    return atomic_load_explicit(&court->handed_out, memory_order_acquire);
}

static bool hidden(long error)
{
    return error == -EACCES || error == -EPERM;
}

/* The calls of a process that nobody may look into are the kernel's, and once the broker is told. Not of the few that
 * su(1) and its like make between a change of their ids and an execve, after which they can be read again. */
static bool stays_hidden(struct court *court, struct trapped *trapped, long error)
{
    if (!hidden(error) || trapped->row->trap == TRAP_EXEC)
        return false;
    pid_t tid = trapped->notification.pid;
    struct unread *unread = &trapped->unread[tid % (sizeof trapped->unread / sizeof *trapped->unread)];
    if (unread->tid != tid)
        *unread = (struct unread){.tid = tid};
    return ++unread->calls > IN_PASSING && !atomic_exchange(&court->hidden, true);
}

static bool descriptor_concerns(struct court *court, struct trapped *trapped, int fd)
{
    if (!handed_out(court) || (fd < 0 && fd != AT_FDCWD))
        return false;
    char target[PATH_LIMIT];
    long length = tracee_base(&trapped->kept, trapped->notification.pid, fd, target, PATH_LIMIT);
    return length < 0 ? stays_hidden(court, trapped, length) : within(&court->prefixes.mirrors, target, length);
}

static bool followed(const struct row *row, const __u64 *args, const char *path, size_t length)
{
    if (path[length - 1] == '/' || (length > 1 && path[length - 1] == '.' && path[length - 2] == '/'))
        return true;
    bool set = args[row->flags_argument] & row->flags;
    return row->follows == FOLLOWS || (row->follows == FOLLOWS_UNLESS && !set) || (row->follows == FOLLOWS_IF && set);
}

static bool leads_away(const struct court *court, int root, const char *path)
{
    return !links_absent(root, path) && links_lead_away(court->links, root, path);
}

static bool other_root_leads_away(const struct court *court, pid_t tid, const char *path)
{
    int root = tracee_open(tid, "root", O_PATH | O_DIRECTORY);
    if (root < 0)
        return hidden(root);
    bool away = leads_away(court, root, path);
    close(root);
    return away;
}

struct question {
    pid_t tid;
    struct trapped *trapped; /* NULL for an interpreter, which has no base */
    bool follow, opens, other_root;
};

static uint64_t kind_of(const struct question *question, pid_t tid)
{
    return (uint64_t)tid << 8 | question->opens << 2 | question->follow << 1 | 1;
}

static bool absolute_concerns(struct court *court, const struct question *question, const char *path, size_t length)
{
    uint32_t now = links_now(court->links);
    uint64_t key = links_key(court->links, path, length, kind_of(question, 0));
    if (!question->other_root && links_known_clean(court->links, key, now))
        return false;
    if (names_scheme(&court->prefixes, path, length))
        return true;
    struct normal normal;
    normalise(&court->prefixes, path, &normal);
    if (normal.touches || (question->opens && equals_one(&court->prefixes.parents, normal.path, normal.length)))
        return true;
    enum magic magic = magic_link(normal.path);
    if (magic == PASSES_MAGIC || (magic == ENDS_IN_MAGIC && handed_out(court)))
        return true;
    if (!normal.climbs && !strncmp(normal.path, "/proc/", 6))
        return false;
    if (question->other_root)
        return other_root_leads_away(court, question->tid, path);
    if (normal.climbs ? leads_away(court, AT_FDCWD, path)
                      : links_concern(court->links, &normal, question->follow, now))
        return true;
    links_remember(court->links, key, now);
    return false;
}

/* In another root the text of /proc/TID/cwd is in our terms, not the tracee's. */
static bool relative_concerns_there(struct court *court, const struct question *question, int fd, const char *path)
{
    if (needs_base(&court->prefixes, path) || descriptor_concerns(court, question->trapped, fd))
        return true;
    int base = tracee_open_base(question->tid, fd, O_PATH | O_DIRECTORY);
    if (base < 0)
        return hidden(base);
    bool absent = links_absent(base, path);
    close(base);
    return !absent;
}

static bool relative_concerns(struct court *court, const struct question *question, int fd, const char *path,
                              size_t length)
{
    if (names_scheme(&court->prefixes, path, length))
        return true;
    if (fd < 0 && fd != AT_FDCWD)
        return false;
    if (question->other_root)
        return relative_concerns_there(court, question, fd, path);
    /* Every change of a working directory is seen here; what a descriptor stands for may change unseen. */
    uint32_t now = links_now(court->links);
    uint64_t key = links_key(court->links, path, length, kind_of(question, question->tid));
    if (fd == AT_FDCWD && links_known_clean(court->links, key, now))
        return false;
    if (!handed_out(court) && !question->follow && !memchr(path, '/', length) && !needs_base(&court->prefixes, path))
        return false;
    char joined[JOINED_LIMIT];
    long base = tracee_base(&question->trapped->kept, question->tid, fd, joined, PATH_LIMIT);
    if (base < 0)
        return hidden(base) && handed_out(court);
    if (joined[0] != '/')
        return false;
    joined[base++] = '/';
    memcpy(joined + base, path, length + 1);
    if (absolute_concerns(court, question, joined, base + length))
        return true;
    if (fd == AT_FDCWD)
        links_remember(court->links, key, now);
    return false;
}

static bool path_concerns(struct court *court, struct trapped *trapped, int index, bool other_root)
{
    const struct seccomp_notif *notification = &trapped->notification;
    const struct row *row = trapped->row;
    int argument = row->socket ? ABSENT : row->paths[index].dirfd;
    int fd = argument == ABSENT ? AT_FDCWD : (int)notification->data.args[argument];
    const char *path = trapped->paths[index];
    long length = trapped->lengths[index];
    if (length <= 0)
        return argument != ABSENT && descriptor_concerns(court, trapped, fd);
    struct question question = {
        .tid = notification->pid,
        .trapped = trapped,
        .follow = followed(row, notification->data.args, path, length),
        .opens = row->opens,
        .other_root = other_root,
    };
    return path[0] == '/' ? absolute_concerns(court, &question, path, length)
                          : relative_concerns(court, &question, fd, path, length);
}

static long read_socket_name(const struct seccomp_notif *notification, const struct row *row, char *path)
{
    uint64_t address = notification->data.args[1], size = notification->data.args[2];
    uint32_t words[3]; /* descriptor, address, size: socketcall(2) */
    if (row->packed) {
        long got = tracee_read(notification->pid, address, words, sizeof words);
        if (got < (long)sizeof words)
            return got < 0 ? got : -EFAULT;
        address = words[1];
        size = words[2];
    }
    return tracee_read_socket_name(notification->pid, address, size, path);
}

/* Whether the call is decided already: true in *concerns when the broker must read what we may not. */
static bool read_paths(struct court *court, struct trapped *trapped, bool *concerns)
{
    const struct seccomp_notif *notification = &trapped->notification;
    const struct row *row = trapped->row;
    long refused = 0;
    bool broken = false;
    trapped->path_count = row->socket ? 1 : row->path_count;
    for (int index = 0; index < trapped->path_count; index++) {
        uint64_t address = row->socket ? 0 : notification->data.args[row->paths[index].path];
        long length = -EFAULT;
        if (row->socket)
            length = read_socket_name(notification, row, trapped->paths[index]);
        else if (address)
            length = tracee_read_string(notification->pid, address, trapped->paths[index], PATH_LIMIT);
        trapped->lengths[index] = length;
        refused = hidden(length) ? length : refused;
        broken |= length < 0 && (address || row->socket);
    }
    /* A bad pointer: the kernel has the right errno, unless it would look up the other path first. */
    *concerns = refused ? stays_hidden(court, trapped, refused) : broken && trapped->path_count > 1;
    return refused || broken;
}

static bool paths_concern(struct court *court, struct trapped *trapped)
{
    bool concerns;
    if (read_paths(court, trapped, &concerns))
        return concerns;
    bool other_root = has_other_root(court, trapped->notification.pid);
    for (int index = 0; index < trapped->path_count; index++)
        if (path_concerns(court, trapped, index, other_root))
            return true;
    return trapped->row->trap == TRAP_EXEC && script_concerns(court, trapped, other_root);
}

struct whom caller_of(struct court *court, struct trapped *trapped)
{
    return caller_whom(&court->own, &trapped->callers, trapped->notification.pid, atomic_load(&court->regrouped),
                       atomic_load(&court->rooted));
}

bool interpreter_concerns(struct court *court, pid_t tid, const char *path, bool other_root)
{
    struct question question = {.tid = tid, .follow = true, .other_root = other_root};
    return path[0] != '/' || absolute_concerns(court, &question, path, strlen(path));
}

bool may_concern_a_drive(struct court *court, struct trapped *trapped)
{
    const struct seccomp_notif *notification = &trapped->notification;
    const struct row *row = trapped->row;
    trapped->path_count = 0;
    if (!row->known)
        return true;
    if (row->trap == TRAP_ROOT || (row->mounts && is_elsewhere(court, notification->pid))) /* by a clone(2) */
        atomic_store(&court->rooted, true);
    if (row->relinks)
        links_forget(court->links);
    switch (row->trap) {
    case TRAP_DESCRIPTOR:
        return descriptor_concerns(court, trapped, (int)notification->data.args[row->fd]);
    case TRAP_RANGED:
        return handed_out(court);
    case TRAP_WORKING_DIRECTORY:
        return descriptor_concerns(court, trapped, AT_FDCWD);
    case TRAP_GROUPS:
        atomic_store(&court->regrouped, true);
        return false;
    case TRAP_SIGNAL_ACTION:
        restart_interrupted_calls(court->listener, notification);
        return false;
    default:
        return paths_concern(court, trapped);
    }
}
