/* Which texts may name something on a drive: arithmetic on strings, without I/O. */
#ifndef SECCOMP_DRIVE_PREFIXES_H
#define SECCOMP_DRIVE_PREFIXES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PATH_LIMIT = 4096,           /* PATH_MAX, with the NUL */
    JOINED_LIMIT = 2 * PATH_LIMIT + 2,
};

struct text {
    const char *bytes;
    size_t length;
};

struct texts {
    struct text *items;
    size_t count;
};

struct prefixes {
    struct texts folders;    /* the absolute prefixes, and the mirrors */
    struct texts schemes;    /* each with its colon */
    struct texts mirrors;
    struct texts parents;    /* folders whose listing shows a prefix */
    struct texts components; /* every component of folders and parents */
    uint64_t initials;       /* bit (first byte & 63) of each of them */
};

/* Fills `components` from the other members. False when memory is short. */
bool prefixes_prepare(struct prefixes *prefixes);
void prefixes_free(struct prefixes *prefixes);

/* `path` or a folder above it is one of `folders`: /drive and /drive/x, not /drivex. */
bool within(const struct texts *folders, const char *path, size_t length);
bool equals_one(const struct texts *texts, const char *path, size_t length);

/* "scheme:..." or a component that is "scheme:". */
bool names_scheme(const struct prefixes *prefixes, const char *path, size_t length);

/* Whether the folder that a relative path starts from matters: it climbs, names nothing below it, or begins with
 * a component of a prefix. */
bool needs_base(const struct prefixes *prefixes, const char *path);

struct normal {
    char path[JOINED_LIMIT]; /* absolute, without "//", "." and "..", and without a slash at its end */
    size_t length;
    bool climbs;  /* it had a ".." */
    bool touches; /* it is on a drive, or passes one before it climbs away */
};

/* Of an absolute path shorter than JOINED_LIMIT; ".." is taken as text. */
void normalise(const struct prefixes *prefixes, const char *path, struct normal *normal);

enum magic { NO_MAGIC, ENDS_IN_MAGIC, PASSES_MAGIC };

/* Whether a normal path is or goes through /proc/.../{cwd,exe,root,fd/N,map_files/N}. */
enum magic magic_link(const char *path);

/* A hash of a text that nobody can foresee who does not know the seed. */
uint64_t text_key(uint64_t seed, const char *text, size_t length, uint64_t kind);

#endif
