#define _GNU_SOURCE
#include "tracee.h"

#include "asking.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES_AT_ONCE = 16, FIRST_PIECE = 256, PROC_NAME = 64 };

static size_t rest_of_page(uint64_t address, size_t length)
{
    size_t rest = PAGE - (address & (PAGE - 1));
    return rest < length ? rest : length;
}

/* One iovec a page: the kernel then stops at the page that fails instead of failing as a whole. */
static long vm_read(pid_t tid, uint64_t address, char *buffer, size_t length)
{
    size_t done = 0;
    while (done < length) {
        struct iovec remote[PAGES_AT_ONCE];
        size_t pages = 0, batch = 0;
        while (pages < PAGES_AT_ONCE && done + batch < length) {
            uint64_t from = address + done + batch;
            size_t piece = rest_of_page(from, length - done - batch);
            remote[pages++] = (struct iovec){(void *)(uintptr_t)from, piece};
            batch += piece;
        }
        struct iovec local = {buffer + done, batch};
        ssize_t got = process_vm_readv(tid, &local, 1, remote, pages, 0);
        if (got < 0)
            return done ? (long)done : -errno;
        done += got;
        if ((size_t)got < batch)
            break;
    }
    return done || !length ? (long)done : -EFAULT;
}

static int open_as_we_are(pid_t tid, const char *name, int flags)
{
    char path[PROC_NAME];
    snprintf(path, sizeof path, "/proc/%d/%s", tid, name);
    int file = open(path, flags | O_CLOEXEC);
    return file < 0 ? -errno : file;
}

int tracee_open(pid_t tid, const char *name, int flags)
{
    struct asking asking = {.tid = tid, .as_whom = AS_ITS_EFFECTIVE_IDS};
    int file;
    do
        file = open_as_we_are(tid, name, flags);
    while (ask_again(&asking, file));
    return file;
}

int tracee_open_base(pid_t tid, int fd, int flags)
{
    char name[16];
    snprintf(name, sizeof name, "fd/%d", fd);
    return tracee_open(tid, fd == AT_FDCWD ? "cwd" : name, flags);
}

/* Once it is open, everybody may read it. */
static int open_memory(pid_t tid, int flags)
{
    int memory = tracee_open(tid, "mem", flags);
    return memory == -EACCES ? -EPERM : memory;
}

static long mem_read(pid_t tid, uint64_t address, char *buffer, size_t length)
{
    int memory = open_memory(tid, O_RDONLY);
    if (memory < 0)
        return memory;
    size_t done = 0;
    while (done < length) {
        ssize_t got = pread(memory, buffer + done, rest_of_page(address + done, length - done), address + done);
        if (got <= 0)
            break;
        done += got;
    }
    close(memory);
    return done || !length ? (long)done : -EFAULT;
}

long tracee_read(pid_t tid, uint64_t address, void *buffer, size_t length)
{
    long got = vm_read(tid, address, buffer, length);
    return got == -EPERM || got == -ENOSYS ? mem_read(tid, address, buffer, length) : got;
}

long tracee_read_string(pid_t tid, uint64_t address, char *buffer, size_t limit)
{
    size_t done = 0;
    while (done < limit) {
        size_t piece = rest_of_page(address + done, limit - done);
        if (!done && piece > FIRST_PIECE)
            piece = FIRST_PIECE;
        long got = tracee_read(tid, address + done, buffer + done, piece);
        if (got < 0)
            return got;
        char *end = memchr(buffer + done, 0, got);
        if (end)
            return end - buffer;
        if ((size_t)got < piece)
            return -EFAULT;
        done += got;
    }
    return -ENAMETOOLONG;
}

long tracee_read_socket_name(pid_t tid, uint64_t pointer, uint32_t size, char *path)
{
    struct sockaddr_un address;
    size_t head = offsetof(struct sockaddr_un, sun_path);
    if (size <= head || size > sizeof address)
        return -EINVAL;
    long got = tracee_read(tid, pointer, &address, size);
    if (got < 0)
        return got;
    if ((size_t)got < size || address.sun_family != AF_UNIX || !address.sun_path[0])
        return -EINVAL;
    size_t length = strnlen(address.sun_path, size - head);
    memcpy(path, address.sun_path, length);
    path[length] = 0;
    return length;
}

static int mem_write(pid_t tid, uint64_t address, const char *data, size_t length)
{
    int memory = open_memory(tid, O_WRONLY);
    if (memory < 0)
        return memory;
    ssize_t put = pwrite(memory, data, length, address);
    close(memory);
    return put == (ssize_t)length ? 0 : -EFAULT;
}

int tracee_write(pid_t tid, uint64_t address, const void *data, size_t length)
{
    struct iovec local = {(void *)data, length}, remote = {(void *)(uintptr_t)address, length};
    ssize_t put = process_vm_writev(tid, &local, 1, &remote, 1, 0);
    if (put < 0 && (errno == EPERM || errno == ENOSYS))
        return mem_write(tid, address, data, length);
    if (put < 0)
        return -errno;
    return (size_t)put == length ? 0 : -EFAULT;
}

static char *digits(char *end, unsigned number)
{
    *--end = 0;
    do
        *--end = '0' + number % 10;
    while (number /= 10);
    return end;
}

static long read_link(int folder, const char *name, char *buffer, size_t size)
{
    ssize_t length = readlinkat(folder, name, buffer, size - 1);
    if (length < 0)
        return -errno;
    buffer[length] = 0;
    return length;
}

static long read_link_of(pid_t tid, int folder, const char *name, char *buffer, size_t size)
{
    struct asking asking = {.tid = tid, .as_whom = AS_ITS_EFFECTIVE_IDS};
    long length;
    do
        length = read_link(folder, name, buffer, size);
    while (ask_again(&asking, length));
    return length;
}

long tracee_read_link(pid_t tid, const char *path, char *buffer, size_t size)
{
    return read_link_of(tid, AT_FDCWD, path, buffer, size);
}

long tracee_link(pid_t tid, int fd, char *buffer, size_t size)
{
    char path[PROC_NAME] = "/proc/", number[12];
    char *end = stpcpy(path + 6, digits(number + sizeof number, tid));
    if (fd < 0)
        strcpy(end, "/cwd");
    else
        strcpy(stpcpy(end, "/fd/"), digits(number + sizeof number, fd));
    return read_link_of(tid, AT_FDCWD, path, buffer, size);
}

static bool keep(struct kept *kept, size_t slot, pid_t tid)
{
    if (kept->slots[slot].tid)
        close(kept->slots[slot].folder);
    kept->slots[slot].folder = open_as_we_are(tid, "fd", O_PATH | O_DIRECTORY);
    kept->slots[slot].tid = kept->slots[slot].folder < 0 ? 0 : tid;
    return kept->slots[slot].tid;
}

long tracee_kept_link(struct kept *kept, pid_t tid, int fd, char *buffer, size_t size)
{
    size_t slot = tid % (sizeof kept->slots / sizeof *kept->slots);
    char number[12];
    const char *name = digits(number + sizeof number, fd);
    bool fresh = kept->slots[slot].tid != tid;
    if (fresh && !keep(kept, slot, tid))
        return tracee_link(tid, fd, buffer, size);
    long length = read_link_of(tid, kept->slots[slot].folder, name, buffer, size);
    if ((length == -ENOENT || length == -ESRCH) && !fresh && keep(kept, slot, tid))
        length = read_link_of(tid, kept->slots[slot].folder, name, buffer, size);
    return length;
}

int tracee_kept_stat(struct kept *kept, pid_t tid, int fd, struct stat *file, bool *writes)
{
    size_t slot = tid % (sizeof kept->slots / sizeof *kept->slots);
    char number[12];
    const char *name = digits(number + sizeof number, fd);
    struct stat link;
    if (kept->slots[slot].tid != tid && !keep(kept, slot, tid))
        return -ESRCH;
    int folder = kept->slots[slot].folder;
    if (fstatat(folder, name, &link, AT_SYMLINK_NOFOLLOW) || fstatat(folder, name, file, 0))
        return -errno;
    *writes = link.st_mode & S_IWUSR; /* proc(5): the bits of the link are those of the open mode */
    return 0;
}

long tracee_base(struct kept *kept, pid_t tid, int fd, char *buffer, size_t size)
{
    return fd == AT_FDCWD ? tracee_link(tid, -1, buffer, size) : tracee_kept_link(kept, tid, fd, buffer, size);
}

void tracee_close_kept(struct kept *kept)
{
    for (size_t slot = 0; slot < sizeof kept->slots / sizeof *kept->slots; slot++)
        if (kept->slots[slot].tid)
            close(kept->slots[slot].folder);
    memset(kept, 0, sizeof *kept);
}
