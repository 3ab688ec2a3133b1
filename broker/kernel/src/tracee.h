/* What the kernel tells of another thread: its memory, its links and status in /proc. Where it refuses us, it is asked
 * with that thread's ids; -EPERM or -EACCES is then its last word. */
#ifndef SECCOMP_DRIVE_TRACEE_H
#define SECCOMP_DRIVE_TRACEE_H

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Bytes read, cut off at the first page that cannot be read; -EFAULT when there is none, or -errno. */
long tracee_read(pid_t tid, uint64_t address, void *buffer, size_t length);

/* Length of the string without its NUL; -ENAMETOOLONG when `limit` bytes hold none; -EFAULT, -EPERM, -ESRCH. */
long tracee_read_string(pid_t tid, uint64_t address, char *buffer, size_t limit);

/* Length of the name in the sockaddr_un (unix(7)) of `size` bytes at `pointer`; -EINVAL for another address. */
long tracee_read_socket_name(pid_t tid, uint64_t pointer, uint32_t size, char *path);

/* 0 when all bytes were written, or -errno. */
int tracee_write(pid_t tid, uint64_t address, const void *data, size_t length);

/* A descriptor of /proc/TID/`name`, close-on-exec, or -errno. */
int tracee_open(pid_t tid, const char *name, int flags);

/* The same for its descriptor `fd`, or the working directory (AT_FDCWD). */
int tracee_open_base(pid_t tid, int fd, int flags);

/* A copy of the tracee's descriptor, close-on-exec, or -errno. */
int tracee_copy_descriptor(pid_t tid, int fd);

/* Another descriptor that shows the same path as `fd` and can write; -ENOENT if it has none, -EBADF if it has no `fd`,
 * or -errno. Files are not touched for it, as one may hang. */
int tracee_other_writer(pid_t tid, int fd);

/* The first number of `first`..`last` that is no descriptor of the tracee's; -ENOENT if all are, or -errno. */
int tracee_free_number(pid_t tid, int first, int last);

/* The text of the link `path`, as the tracee may read it if we may not; its length (NUL-terminated), or -errno. */
long tracee_read_link(pid_t tid, const char *path, char *buffer, size_t size);

/* The text of /proc/TID/cwd, or of /proc/TID/fd/`fd` when fd >= 0; its length (NUL-terminated), or -errno. */
long tracee_link(pid_t tid, int fd, char *buffer, size_t size);

/* Descriptors of /proc/TID/fd, kept open by one of our threads: half a microsecond less to look up. They stand for the
 * thread that had the id when they were opened, so a reused id is noticed. Zeros are an empty one. */
struct kept {
    struct {
        pid_t tid;
        int folder;
    } slots[32];
};

/* tracee_link, with AT_FDCWD for the working directory. */
long tracee_base(struct kept *kept, pid_t tid, int fd, char *buffer, size_t size);

/* tracee_link for fd >= 0. */
long tracee_kept_link(struct kept *kept, pid_t tid, int fd, char *buffer, size_t size);

/* stat(2) of the file behind its descriptor `fd`, and whether that can write; 0 or -errno, and nothing is asked with
 * other ids than ours. */
int tracee_kept_stat(struct kept *kept, pid_t tid, int fd, struct stat *file, bool *writes);
void tracee_close_kept(struct kept *kept);

struct tracee_status {
    int tgid, threads;
    unsigned umask;
    unsigned ids[8]; /* ruid, euid, suid, fsuid, rgid, egid, sgid, fsgid */
    uint64_t effective, permitted, pending, shared_pending, blocked, ignored;
    unsigned *groups; /* malloc'd; the caller frees it */
    size_t group_count;
};

/* 0 or -errno. */
int tracee_status(pid_t tid, struct tracee_status *status);

#endif
