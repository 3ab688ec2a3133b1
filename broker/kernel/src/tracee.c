#define _GNU_SOURCE
#include "tracee.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
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

static char *read_all(pid_t tid)
{
    char name[32];
    snprintf(name, sizeof name, "/proc/%d/status", tid);
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return NULL;
    size_t size = 4096, length = 0;
    char *text = malloc(size);
    while (text) {
        ssize_t got = read(file, text + length, size - 1 - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int error = errno;
            free(text);
            close(file);
            errno = error;
            return NULL;
        }
        length += got;
        if (length + 1 < size) /* seq_file fills the buffer unless the text is at its end */
            break;
        char *larger = realloc(text, size *= 2);
        if (!larger)
            free(text);
        text = larger;
    }
    close(file);
    if (text)
        text[length] = 0;
    else
        errno = ENOMEM;
    return text;
}

static void read_ids(const char *value, unsigned *ids)
{
    for (int index = 0; index < 4; index++)
        ids[index] = strtoul(value, (char **)&value, 10);
}

static int read_groups(const char *value, struct tracee_status *status)
{
    size_t room = 0;
    for (;;) {
        char *end;
        unsigned long group = strtoul(value, &end, 10);
        if (end == value || memchr(value, '\n', end - value))
            return 0;
        if (status->group_count == room) {
            unsigned *larger = realloc(status->groups, (room = room ? 2 * room : 16) * sizeof *larger);
            if (!larger)
                return -ENOMEM;
            status->groups = larger;
        }
        status->groups[status->group_count++] = group;
        value = end;
    }
}

static int read_line(const char *line, struct tracee_status *status)
{
    const char *value = strchr(line, ':');
    if (!value++)
        return 0;
    size_t length = value - line;
#define KEY(name) (length == sizeof name - 1 && !memcmp(line, name, length))
    if (KEY("Umask:"))
        status->umask = strtoul(value, NULL, 8);
    else if (KEY("Tgid:"))
        status->tgid = atoi(value);
    else if (KEY("Threads:"))
        status->threads = atoi(value);
    else if (KEY("Uid:"))
        read_ids(value, status->ids);
    else if (KEY("Gid:"))
        read_ids(value, status->ids + 4);
    else if (KEY("Groups:"))
        return read_groups(value, status);
    else if (KEY("SigPnd:"))
        status->pending = strtoull(value, NULL, 16);
    else if (KEY("ShdPnd:"))
        status->shared_pending = strtoull(value, NULL, 16);
    else if (KEY("SigBlk:"))
        status->blocked = strtoull(value, NULL, 16);
    else if (KEY("SigIgn:"))
        status->ignored = strtoull(value, NULL, 16);
    else if (KEY("CapPrm:"))
        status->permitted = strtoull(value, NULL, 16);
    else if (KEY("CapEff:"))
        status->effective = strtoull(value, NULL, 16);
#undef KEY
    return 0;
}

int tracee_status(pid_t tid, struct tracee_status *status)
{
    memset(status, 0, sizeof *status);
    char *text = read_all(tid);
    if (!text)
        return -errno;
    int error = 0;
    for (char *line = text; line && *line && !error; line = strchr(line, '\n'), line += line ? 1 : 0)
        error = read_line(line, status);
    free(text);
    if (error) {
        free(status->groups);
        status->groups = NULL;
    }
    return error;
}
