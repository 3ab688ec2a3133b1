"""The table of trapped system calls: the one source of the filter, the lane and the dispatcher."""

from __future__ import annotations

import enum

from msgspec import Struct

RANGE_START = 768
"""Descriptors RANGE_START..RANGE_END are ours: a masked comparison in the filter finds them."""
RANGE_END = 1023
RANGE_MASK = 0xFFFFFF00

SIGCHLD = 17

SOCKET_CALLS = (2, 3)
"""SYS_BIND and SYS_CONNECT of socketcall(2), by which 32-bit programs reach them."""


class Trap(enum.IntEnum):
    """When a call is trapped, and what the lane does with it."""

    PATH = 0
    """Always; continued unless one of its paths may concern a drive. An empty path counts as its descriptor."""
    DESCRIPTOR = 1
    """Always; continued unless the descriptor `fd` lies in a mirror (or is in the range)."""
    RANGED = 2
    """Only if the descriptor `fd` (or `other_fd`) is in the range; handed over."""
    WORKING_DIRECTORY = 3
    """Always; continued unless a drive directory was handed out and the working directory lies in a mirror."""
    EXEC = 4
    """Always, unless it carries the cookie; handed over if it, or its interpreter, may be on a drive."""
    SIGNAL_ACTION = 5
    """Only for SIGCHLD with a new action; the lane adds SA_RESTART and continues."""
    ROOT = 6
    """Always; a PATH call that changes which root or namespace paths are looked up in: remembered."""

    GROUPS = 7
    """Always; continued, and remembered: callers may have other supplementary groups than the broker."""

    SOCKET_CALL = 8
    """Only for those of SOCKET_CALLS in the first argument; a PATH call whose arguments the second one points to."""


class Row(Struct, frozen=True):
    """One system call. Numbers are None where the architecture lacks it; `paths` are (dirfd, path) argument pairs,
    with None for the working directory."""

    name: str
    x86_64: int | None
    i386: int | None
    trap: Trap
    paths: tuple[tuple[int | None, int], ...] = ()
    fd: int | None = None
    other_fd: int | None = None


def _path(name: str, x86_64: int | None, i386: int | None, *paths: tuple[int | None, int]) -> Row:
    return Row(name, x86_64, i386, Trap.PATH, paths or ((None, 0),))


def _fd(name: str, x86_64: int | None, i386: int | None, fd: int = 0) -> Row:
    return Row(name, x86_64, i386, Trap.DESCRIPTOR, fd=fd)


def _ranged(name: str, x86_64: int | None, i386: int | None, other: int | None = None) -> Row:
    return Row(name, x86_64, i386, Trap.RANGED, fd=0, other_fd=other)


AT = (0, 1)

TABLE: tuple[Row, ...] = (
    _path("open", 2, 5),
    _path("openat", 257, 295, AT),
    _path("openat2", 437, 437, AT),
    _path("creat", 85, 8),
    _path("stat", 4, 106),
    _path("lstat", 6, 107),
    _path("stat64", None, 195),
    _path("lstat64", None, 196),
    _path("newfstatat", 262, None, AT),
    _path("fstatat64", None, 300, AT),
    _path("statx", 332, 383, AT),
    _path("access", 21, 33),
    _path("faccessat", 269, 307, AT),
    _path("faccessat2", 439, 439, AT),
    _path("readlink", 89, 85),
    _path("readlinkat", 267, 305, AT),
    _path("statfs", 137, 99),
    _path("statfs64", None, 268),
    _path("mkdir", 83, 39),
    _path("mkdirat", 258, 296, AT),
    _path("mknod", 133, 14),
    _path("mknodat", 259, 297, AT),
    _path("unlink", 87, 10),
    _path("unlinkat", 263, 301, AT),
    _path("rmdir", 84, 40),
    _path("rename", 82, 38, (None, 0), (None, 1)),
    _path("renameat", 264, 302, (0, 1), (2, 3)),
    _path("renameat2", 316, 353, (0, 1), (2, 3)),
    _path("link", 86, 9, (None, 0), (None, 1)),
    _path("linkat", 265, 303, (0, 1), (2, 3)),
    _path("symlink", 88, 83, (None, 1)),
    _path("symlinkat", 266, 304, (1, 2)),
    _path("chmod", 90, 15),
    _path("fchmodat", 268, 306, AT),
    _path("fchmodat2", 452, 452, AT),
    _path("chown", 92, 212),
    _path("lchown", 94, 198),
    _path("chown16", None, 182),
    _path("lchown16", None, 16),
    _path("fchownat", 260, 298, AT),
    _path("utime", 132, 30),
    _path("utimes", 235, 271),
    _path("futimesat", 261, 299, AT),
    _path("utimensat", 280, 320, AT),
    _path("utimensat_time64", None, 412, AT),
    _path("truncate", 76, 92),
    _path("truncate64", None, 193),
    _path("setxattr", 188, 226),
    _path("lsetxattr", 189, 227),
    _path("getxattr", 191, 229),
    _path("lgetxattr", 192, 230),
    _path("listxattr", 194, 232),
    _path("llistxattr", 195, 233),
    _path("removexattr", 197, 235),
    _path("lremovexattr", 198, 236),
    _path("setxattrat", 463, 463, AT),
    _path("getxattrat", 464, 464, AT),
    _path("listxattrat", 465, 465, AT),
    _path("removexattrat", 466, 466, AT),
    _path("file_getattr", 468, 468, AT),
    _path("file_setattr", 469, 469, AT),
    _path("name_to_handle_at", 303, 341, AT),
    _path("inotify_add_watch", 254, 292, (None, 1)),
    _path("fanotify_mark", 301, None, (3, 4)),
    _path("fanotify_mark_i386", None, 339, (4, 5)),
    _path("chdir", 80, 12),
    _path("open_tree", 428, 428, AT),
    _path("open_tree_attr", 467, 467, AT),
    _path("fspick", 433, 433, AT),
    _path("mount_setattr", 442, 442, AT),
    _path("move_mount", 429, 429, (0, 1), (2, 3)),
    _path("mount", 165, 21, (None, 0), (None, 1)),
    _path("umount2", 166, 52),
    _path("uselib", 134, 86),
    _path("swapon", 167, 87),
    _path("acct", 163, 51),
    Row("execve", 59, 11, Trap.EXEC, ((None, 0),)),
    Row("execveat", 322, 358, Trap.EXEC, (AT,)),
    Row("bind", 49, 361, Trap.PATH, fd=0),
    Row("connect", 42, 362, Trap.PATH, fd=0),
    Row("socketcall", None, 102, Trap.SOCKET_CALL),
    Row("getcwd", 79, 183, Trap.WORKING_DIRECTORY),
    Row("fchdir", 81, 133, Trap.DESCRIPTOR, fd=0),
    _fd("fsync", 74, 118),
    _fd("fdatasync", 75, 148),
    _fd("syncfs", 306, 344),
    _fd("fchmod", 91, 94),
    _fd("fchown", 93, 207),
    _fd("fchown16", None, 95),
    _fd("fsetxattr", 190, 228),
    _fd("fgetxattr", 193, 231),
    _fd("flistxattr", 196, 234),
    _fd("fremovexattr", 199, 237),
    _fd("open_by_handle_at", 304, 342),
    _ranged("close", 3, 6),
    _ranged("fstat", 5, 108),
    _ranged("fstat64", None, 197),
    _ranged("dup", 32, 41),
    _ranged("dup2", 33, 63, other=1),
    _ranged("dup3", 292, 330, other=1),
    _ranged("fcntl", 72, 55),
    _ranged("fcntl64", None, 221),
    _ranged("getdents", 78, 141),
    _ranged("getdents64", 217, 220),
    Row("rt_sigaction", 13, 174, Trap.SIGNAL_ACTION),
    Row("chroot", 161, 61, Trap.ROOT, ((None, 0),)),
    Row("pivot_root", 155, 217, Trap.ROOT, ((None, 0), (None, 1))),
    Row("unshare", 272, 310, Trap.ROOT),
    Row("setns", 308, 346, Trap.ROOT),
    Row("setgroups", 116, 206, Trap.GROUPS),
    Row("setgroups16", None, 81, Trap.GROUPS),
)
"""Every system call that takes a path, in its old and its new form, and those that change or confirm a file through
a descriptor. x32 numbers are absent: the filter refuses that entry with ENOSYS."""

REFUSED: tuple[tuple[str, int, int], ...] = (("io_uring_setup", 425, 425),)
"""(name, x86_64, i386) answered ENOSYS by the filter itself: a ring would walk around it."""
