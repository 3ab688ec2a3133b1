"""What the lane has to know of a system call beside its row: how it treats a final symlink, and what it changes."""

from __future__ import annotations

import enum
import os

from msgspec import Struct

from broker.table import Row, Trap

AT_SYMLINK_NOFOLLOW = 0x100
AT_SYMLINK_FOLLOW = 0x400
FSPICK_SYMLINK_NOFOLLOW = 0x2


class Follows(enum.IntEnum):
    """Whether a call follows its last component (path_resolution(7)); the numbers are those of src/rows.h."""

    ALWAYS = 0
    NEVER = 1
    UNLESS_FLAGGED = 2
    IF_FLAGGED = 3


class Shows(enum.IntEnum):
    """The structure that a call writes about a path; the numbers are those of src/rows.h."""

    NOTHING = 0
    STAT = 1
    STATX = 2


class Sets(enum.IntEnum):
    """What a call changes of the file behind a descriptor; the numbers are those of src/rows.h."""

    NOTHING = 0
    MODE = 1
    OWNER = 2
    TIMES = 3


class Traits(Struct, frozen=True):
    """Of one system call. `flags` are bits in the argument `flags_argument`, which decide for two of `Follows`."""

    follows: Follows = Follows.ALWAYS
    flags_argument: int = 0
    flags: int = 0
    opens: bool = False
    """May open a folder for listing."""
    socket: bool = False
    """Takes a sockaddr in its second argument, the length in its third."""
    packed: bool = False
    """These are 32-bit words in an array that the second argument of the call points to."""
    relinks: bool = False
    """Afterwards a path may lead somewhere else."""
    mounts: bool = False
    """Afterwards the paths of a mount namespace, if that is the caller's own, are not ours."""
    shows: Shows = Shows.NOTHING
    """On x86-64."""
    output: int = 0
    """The argument that the structure goes to."""
    sets: Sets = Sets.NOTHING


_OPENS = frozenset({"open", "openat", "openat2"})
_SOCKETS = frozenset({"bind", "connect", "socketcall"})
_RELINKS = frozenset({"symlink", "symlinkat", "link", "linkat", "rename", "renameat", "renameat2", "chdir", "fchdir"})
_MOUNTS = frozenset({"mount", "umount2", "move_mount"})
_NEVER = frozenset(
    {"lstat", "lstat64", "readlink", "readlinkat", "lchown", "lchown16", "mkdir", "mkdirat", "mknod", "mknodat"}
    | {"unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "link", "symlink", "symlinkat"}
    | {"lsetxattr", "lgetxattr", "llistxattr", "lremovexattr"}
)
_UNLESS = {
    "open": (1, os.O_NOFOLLOW),
    "openat": (2, os.O_NOFOLLOW),
    "newfstatat": (3, AT_SYMLINK_NOFOLLOW),
    "fstatat64": (3, AT_SYMLINK_NOFOLLOW),
    "statx": (2, AT_SYMLINK_NOFOLLOW),
    "faccessat2": (3, AT_SYMLINK_NOFOLLOW),
    "fchmodat2": (3, AT_SYMLINK_NOFOLLOW),
    "fchownat": (4, AT_SYMLINK_NOFOLLOW),
    "utimensat": (3, AT_SYMLINK_NOFOLLOW),
    "utimensat_time64": (3, AT_SYMLINK_NOFOLLOW),
    "setxattrat": (2, AT_SYMLINK_NOFOLLOW),
    "getxattrat": (2, AT_SYMLINK_NOFOLLOW),
    "listxattrat": (2, AT_SYMLINK_NOFOLLOW),
    "removexattrat": (2, AT_SYMLINK_NOFOLLOW),
    "file_getattr": (4, AT_SYMLINK_NOFOLLOW),
    "file_setattr": (4, AT_SYMLINK_NOFOLLOW),
    "open_tree": (2, AT_SYMLINK_NOFOLLOW),
    "open_tree_attr": (2, AT_SYMLINK_NOFOLLOW),
    "fspick": (2, FSPICK_SYMLINK_NOFOLLOW),
    "mount_setattr": (2, AT_SYMLINK_NOFOLLOW),
}
_SHOWS = {
    "stat": (Shows.STAT, 1),
    "lstat": (Shows.STAT, 1),
    "newfstatat": (Shows.STAT, 2),
    "statx": (Shows.STATX, 4),
}
_SETS = {"fchmod": Sets.MODE, "fchown": Sets.OWNER, "utimensat": Sets.TIMES, "utimensat_time64": Sets.TIMES}
_IF = {"linkat": (4, AT_SYMLINK_FOLLOW), "name_to_handle_at": (4, AT_SYMLINK_FOLLOW)}


def traits_of(row: Row) -> Traits:
    """The traits of the call in `row`, which go by its name."""
    follows, (argument, flags) = Follows.ALWAYS, (0, 0)
    if row.name in _NEVER:
        follows = Follows.NEVER
    elif row.name in _UNLESS:
        follows, (argument, flags) = Follows.UNLESS_FLAGGED, _UNLESS[row.name]
    elif row.name in _IF:
        follows, (argument, flags) = Follows.IF_FLAGGED, _IF[row.name]
    shows, output = _SHOWS.get(row.name, (Shows.NOTHING, 0))
    return Traits(
        follows,
        argument,
        flags,
        opens=row.name in _OPENS,
        socket=row.name in _SOCKETS,
        packed=row.trap is Trap.SOCKET_CALL,
        relinks=row.name in _RELINKS | _MOUNTS or row.trap is Trap.ROOT,
        mounts=row.name in _MOUNTS,
        shows=shows,
        output=output,
        sets=_SETS.get(row.name, Sets.NOTHING),
    )
