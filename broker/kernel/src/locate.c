#define _GNU_SOURCE
#include "locate.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the kernel puts behind the path of a file without a name (d_path in fs/d_path.c). */
static const char DELETED[] = " (deleted)";

static bool is_below(struct text folder, const struct normal *normal)
{
    return normal->length > folder.length + 1 && !memcmp(normal->path, folder.bytes, folder.length) &&
           normal->path[folder.length] == '/';
}

static bool ends_in(const char *text, size_t length, const char *end, size_t size)
{
    return length >= size && !memcmp(text + length - size, end, size);
}

static void find_base(struct trapped *trapped, struct base *base)
{
    int argument = trapped->row->paths[0].dirfd;
    int fd = argument == ABSENT ? AT_FDCWD : (int)trapped->notification.data.args[argument];
    base->length = tracee_base(&trapped->kept, trapped->notification.pid, fd, base->path, sizeof base->path);
}

bool has_moved(struct trapped *trapped, const struct base *before)
{
    struct base base;
    if (!before->length)
        return false;
    find_base(trapped, &base);
    return base.length != before->length || memcmp(base.path, before->path, base.length);
}

bool locate(const struct court *court, struct trapped *trapped, struct normal *normal, struct place *place,
            struct base *base)
{
    base->length = 0;
    const char *path = trapped->paths[0];
    size_t length = trapped->lengths[0];
    const struct warm *warm = court->warm;
    if (path[length - 1] == '/' || (length > 1 && path[length - 1] == '.' && path[length - 2] == '/'))
        return false;
    char joined[JOINED_LIMIT];
    const char *whole = path;
    bool absolute = path[0] == '/';
    for (size_t drive = 0; !absolute && drive < warm->count; drive++) {
        struct text prefix = warm->drives[drive].prefix;
        if (warm->drives[drive].scheme && length > prefix.length && !memcmp(path, prefix.bytes, prefix.length)) {
            normalise(&court->prefixes, path + prefix.length, normal);
            *place = (struct place){drive, normal->path + 1, normal->length - 1};
            return !normal->climbs && place->length;
        }
    }
    if (names_scheme(&court->prefixes, path, length)) /* its root, or by way of a folder: not a name in that */
        return false;
    if (!absolute) {
        find_base(trapped, base);
        if (base->length <= 0 || base->path[0] != '/' || ends_in(base->path, base->length, DELETED, sizeof DELETED - 1))
            return false;
        memcpy(joined, base->path, base->length);
        joined[base->length] = '/';
        memcpy(joined + base->length + 1, path, length + 1);
        whole = joined;
    }
    normalise(&court->prefixes, whole, normal);
    if (normal->climbs)
        return false;
    for (size_t drive = 0; drive < warm->count; drive++) {
        struct text folder = absolute ? warm->drives[drive].prefix : warm->drives[drive].root;
        if ((!absolute || !warm->drives[drive].scheme) && is_below(folder, normal)) {
            *place = (struct place){drive, normal->path + folder.length + 1, normal->length - folder.length - 1};
            return true;
        }
    }
    return false;
}

int open_beneath(int root, const char *path, int flags)
{
    struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
    int file = syscall(SYS_openat2, root, path, &how, sizeof how);
    return file < 0 ? -errno : file;
}

/* Of the way to the drive's root no other call of ours sees anything. */
static bool may_come(const struct drive *drive, const struct base *base)
{
    char folder[PATH_LIMIT];
    if (drive->scheme || base->length)
        return true;
    const char *last = memrchr(drive->prefix.bytes, '/', drive->prefix.length);
    size_t length = last - drive->prefix.bytes;
    if (length >= sizeof folder)
        return false;
    memcpy(folder, drive->prefix.bytes, length);
    strcpy(folder + length, length ? "" : "/");
    return !syscall(SYS_faccessat2, AT_FDCWD, folder, X_OK, AT_EACCESS);
}

int open_as(const struct identity *as, const struct drive *drive, const struct base *base, const char *path, int flags)
{
    struct before before;
    if (!as)
        return open_beneath(drive->root_fd, path, flags);
    int error = assume(as, &before);
    if (error)
        return error;
    int file = may_come(drive, base) ? open_beneath(drive->root_fd, path, flags) : -EACCES;
    resume(&before);
    return file;
}
