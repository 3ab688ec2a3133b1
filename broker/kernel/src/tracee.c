#define _GNU_SOURCE
#include "tracee.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES_AT_ONCE = 16, FIRST_PIECE = 256 };

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

static int open_memory(pid_t tid, int flags)
{
    char name[32];
    snprintf(name, sizeof name, "/proc/%d/mem", tid);
    return open(name, flags | O_CLOEXEC);
}

static long mem_read(pid_t tid, uint64_t address, char *buffer, size_t length)
{
    int memory = open_memory(tid, O_RDONLY);
    if (memory < 0)
        return errno == EACCES ? -EPERM : -errno;
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

static int mem_write(pid_t tid, uint64_t address, const char *data, size_t length)
{
    int memory = open_memory(tid, O_WRONLY);
    if (memory < 0)
        return errno == EACCES ? -EPERM : -errno;
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

long tracee_link(pid_t tid, int fd, char *buffer, size_t size)
{
    char name[48] = "/proc/", number[12];
    char *end = stpcpy(name + 6, digits(number + sizeof number, tid));
    if (fd < 0)
        strcpy(end, "/cwd");
    else
        strcpy(stpcpy(end, "/fd/"), digits(number + sizeof number, fd));
    ssize_t length = readlink(name, buffer, size - 1);
    if (length < 0)
        return -errno;
    buffer[length] = 0;
    return length;
}

static bool keep(struct kept *kept, size_t slot, pid_t tid)
{
    char name[32];
    if (kept->slots[slot].tid)
        close(kept->slots[slot].folder);
    snprintf(name, sizeof name, "/proc/%d/fd", tid);
    kept->slots[slot].folder = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
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
    ssize_t length = readlinkat(kept->slots[slot].folder, name, buffer, size - 1);
    if (length < 0 && !fresh && (errno == ENOENT || errno == ESRCH) && keep(kept, slot, tid))
        length = readlinkat(kept->slots[slot].folder, name, buffer, size - 1);
    if (length < 0)
        return -errno;
    buffer[length] = 0;
    return length;
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
