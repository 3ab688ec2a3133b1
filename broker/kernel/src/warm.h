/* What the broker vouches for, so that the lane may answer: names that are fresh, and how nodes are to be shown. */
#ifndef SECCOMP_DRIVE_WARM_H
#define SECCOMP_DRIVE_WARM_H

#include "prefixes.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOUNTS_LIMIT = 64 };

struct slot {
    uint64_t key;    /* 0: empty */
    uint64_t first;  /* 0: forgotten */
    uint64_t second;
};

struct table { /* open addressing; `room` is 0 or a power of two */
    size_t room, used;
    struct slot *slots;
};

struct drive { /* one mount, with its mirror */
    struct text prefix, root;
    bool scheme;
    int root_fd;
    const char *shared, *seen; /* two numbers of `shared_size` bytes: other sessions have changed nothing while equal */
    size_t shared_size;
    int folder;         /* the remote's witness: a folder that shows at any moment what it has, or -1, */
    const char *state;  /* or bytes that are others after every change of it, or NULL */
    size_t state_size;
    struct table fresh, nodes, complete, witnessed;
};

struct warm {
    pthread_mutex_t mutex;
    uint64_t seed;
    size_t count;
    struct drive drives[MOUNTS_LIMIT];
};

struct shown { /* what the stat of a node should say; the mirror's node has the rest right */
    bool has_nlink, has_blocks;
    bool dirty;      /* the close of a descriptor that can write pushes content, mode and times */
    uint16_t set_id; /* mode bits to be added */
    uint32_t nlink;
    uint64_t blocks; /* of 512 bytes */
};

struct warm *warm_new(size_t count);
void warm_free(struct warm *warm);

/* The numbers of the drives are going away: nothing is known of nodes from now on. */
void warm_close(struct warm *warm);

/* Until `until` (ns of CLOCK_MONOTONIC), a name's node or absence in the mirror is what the remote has; or, of a
 * listing, all names in that folder are. 0 takes it back. Paths are relative to the drive's root. */
void warm_name(struct warm *warm, size_t drive, const char *path, size_t length, uint64_t until);
void warm_listing(struct warm *warm, size_t drive, const char *path, size_t length, uint64_t until);
void warm_forget_names(struct warm *warm, size_t drive);

/* NULL takes it back. */
void warm_node(struct warm *warm, size_t drive, uint64_t inode, const struct shown *shown);
void warm_forget_nodes(struct warm *warm, size_t drive);

/* Until `until` the mirror has the whole content of a clean file at that version (witness.h), which may be opened for
 * reading. Whatever is said of the node takes it back. */
void warm_complete(struct warm *warm, size_t drive, uint64_t inode, uint64_t version, uint64_t until);

/* The mirror's node at `path`, the version that the remote had there, and the `state` that it was in before it was asked. */
void warm_witnessed(struct warm *warm, size_t drive, const char *path, size_t length, uint64_t inode, uint64_t version,
                    const char *state);

/* Whether every name on the way of `path`, and itself, is fresh at `now`. */
bool warm_is_fresh(struct warm *warm, size_t drive, const char *path, size_t length, uint64_t now);
bool warm_is_listed(struct warm *warm, size_t drive, const char *path, size_t length, uint64_t now);
bool warm_shown(struct warm *warm, size_t drive, uint64_t inode, struct shown *shown);

/* The version that the whole content of a clean file is of; false if it cannot be told, and of files with set-id bits,
 * whose descriptors have a number in the range: their fstat(2) is the broker's. */
bool warm_is_complete(struct warm *warm, size_t drive, uint64_t inode, uint64_t now, uint64_t *version);
bool warm_is_witnessed(struct warm *warm, size_t drive, const char *path, size_t length, uint64_t inode, uint64_t version);

#endif
