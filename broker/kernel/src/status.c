#define _GNU_SOURCE
#include "tracee.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
