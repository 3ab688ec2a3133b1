/* One row of the table of system calls, as the lane needs it. */
#ifndef SECCOMP_DRIVE_ROWS_H
#define SECCOMP_DRIVE_ROWS_H

#include <stdbool.h>
#include <stdint.h>

enum trap { /* broker.table.Trap */
    TRAP_PATH,
    TRAP_DESCRIPTOR,
    TRAP_RANGED,
    TRAP_WORKING_DIRECTORY,
    TRAP_EXEC,
    TRAP_SIGNAL_ACTION,
    TRAP_ROOT,
    TRAP_GROUPS,
    TRAP_SOCKET_CALL,
};

enum follows { FOLLOWS, FOLLOWS_NOT, FOLLOWS_UNLESS, FOLLOWS_IF }; /* broker.kernel.traits.Follows */

enum shows { SHOWS_NOTHING, SHOWS_STAT, SHOWS_STATX }; /* broker.kernel.traits.Shows */

enum sets { SETS_NOTHING, SETS_MODE, SETS_OWNER, SETS_TIMES }; /* broker.kernel.traits.Sets */

enum { ROW_LIMIT = 512, ABSENT = -1 };

struct row {
    bool known;
    uint8_t trap;
    int8_t fd;
    uint8_t path_count;
    struct row_path {
        int8_t dirfd, path; /* argument numbers; ABSENT dirfd: the working directory */
    } paths[2];
    bool opens;        /* may open a folder for listing */
    bool socket;       /* a sockaddr in the second argument, its length in the third */
    bool packed;       /* these are 32-bit words in an array that the second argument of the call points to */
    bool relinks;      /* what was learned of links may be wrong afterwards */
    bool mounts;       /* in a mount namespace of its own, afterwards the caller's paths are not ours */
    uint8_t follows;   /* whether the last component is followed: by itself, or by the flags in an argument */
    uint8_t flags_argument;
    uint32_t flags;
    uint8_t shows, output; /* what the call writes about a path, and the argument that says where */
    uint8_t sets;          /* what the call changes through the descriptor in its first argument */
};

#endif
