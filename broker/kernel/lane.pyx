"""The lane: native threads that answer what does not concern a drive, and queue what may."""

import os
from typing import NamedTuple

from broker.table import Trap

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport errno
from libc.stdint cimport int8_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy


cdef extern from "<linux/audit.h>":
    enum:
        AUDIT_ARCH_I386

cdef extern from "<linux/seccomp.h>":
    struct seccomp_data:
        int nr
        uint32_t arch
        uint64_t args[6]
    struct seccomp_notif:
        uint64_t id
        uint32_t pid
        seccomp_data data

cdef extern from "src/rows.h":
    enum:
        ROW_LIMIT
        ABSENT
        FOLLOWS
        FOLLOWS_NOT
        FOLLOWS_UNLESS
        FOLLOWS_IF
    struct row_path:
        int8_t dirfd
        int8_t path
    struct row:
        bint known
        uint8_t trap
        int8_t fd
        uint8_t path_count
        row_path paths[2]
        bint opens
        bint socket
        bint relinks
        uint8_t follows
        uint8_t flags_argument
        uint32_t flags

cdef extern from "src/prefixes.h":
    struct text:
        const char *bytes
        size_t length
    struct texts:
        text *items
        size_t count
    struct prefixes:
        texts folders
        texts schemes
        texts mirrors
        texts parents

cdef extern from "src/links.h":
    struct links:
        pass
    void links_forget(links *known) nogil

cdef extern from "src/judge.h":
    struct court:
        prefixes prefixes
        links *links

cdef extern from "src/lane.h":
    enum:
        THREADS_LIMIT
    struct item:
        item *next
        seccomp_notif notification
        int path_count
        long lengths[2]
        const char *paths[2]
    struct counters_t "counters":
        uint64_t received
        uint64_t continued
        uint64_t handed_over
        uint64_t cancelled
        uint64_t foreign
    struct lane:
        court court
        row rows[2][512]
        int event
        bint ended
    lane *lane_new(int listener, int threads)
    int lane_prepare(lane *owner)
    int lane_start(lane *owner)
    void lane_stop(lane *owner) nogil
    void lane_free(lane *owner) nogil
    item *lane_take(lane *owner) nogil
    void lane_handed_out(lane *owner) nogil
    counters_t lane_counters(const lane *owner)


class Trapped(NamedTuple):
    cookie: int
    tid: int
    arch: int
    number: int
    arguments: tuple
    paths: tuple


AT_SYMLINK_NOFOLLOW = 0x100
AT_SYMLINK_FOLLOW = 0x400

OPENS = frozenset({"open", "openat", "openat2"})
SOCKETS = frozenset({"bind", "connect"})
RELINKS = frozenset(
    {"symlink", "symlinkat", "link", "linkat", "rename", "renameat", "renameat2", "chdir", "fchdir"}
    | {"mount", "umount2", "move_mount"}
)
"""Calls after which a path may lead somewhere else, beside those of Trap.ROOT."""

NOT_FOLLOWED = frozenset(
    {"lstat", "lstat64", "readlink", "readlinkat", "lchown", "lchown16", "mkdir", "mkdirat", "mknod", "mknodat"}
    | {"unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "link", "symlink", "symlinkat"}
    | {"lsetxattr", "lgetxattr", "llistxattr", "lremovexattr"}
)
"""Calls that act on a final symlink itself (path_resolution(7))."""

NOT_FOLLOWED_WITH = {
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
}
FOLLOWED_WITH = {"linkat": (4, AT_SYMLINK_FOLLOW), "name_to_handle_at": (4, AT_SYMLINK_FOLLOW)}
"""Name → (number of the flags argument, flag)."""


cdef int copy_texts(texts *target, values) except -1:
    cdef char *copied
    target.items = <text *>calloc(len(values) + 1, sizeof(text))
    if target.items == NULL:
        raise MemoryError
    for value in values:
        copied = <char *>malloc(len(value) + 1)
        if copied == NULL:
            raise MemoryError
        memcpy(copied, PyBytes_AS_STRING(value), len(value) + 1)
        target.items[target.count].bytes = copied
        target.items[target.count].length = len(value)
        target.count += 1
    return 0


cdef int fill_row(row *target, source) except -1:
    target.known = True
    target.trap = source.trap
    target.fd = ABSENT if source.fd is None else source.fd
    target.path_count = len(source.paths)
    for index, (dirfd, path) in enumerate(source.paths):
        target.paths[index].dirfd = ABSENT if dirfd is None else dirfd
        target.paths[index].path = path
    target.opens = source.name in OPENS
    target.socket = source.name in SOCKETS
    target.relinks = source.name in RELINKS or source.trap == Trap.ROOT
    target.follows = FOLLOWS_NOT if source.name in NOT_FOLLOWED else FOLLOWS
    if source.name in NOT_FOLLOWED_WITH:
        target.follows = FOLLOWS_UNLESS
        target.flags_argument, target.flags = NOT_FOLLOWED_WITH[source.name]
    elif source.name in FOLLOWED_WITH:
        target.follows = FOLLOWS_IF
        target.flags_argument, target.flags = FOLLOWED_WITH[source.name]
    return 0


cdef object trapped_of(const item *queued):
    return Trapped(
        queued.notification.id,
        queued.notification.pid,
        queued.notification.data.arch,
        queued.notification.data.nr,
        tuple([queued.notification.data.args[index] for index in range(6)]),
        tuple([
            PyBytes_FromStringAndSize(queued.paths[index], queued.lengths[index]) if queued.lengths[index] >= 0 else None
            for index in range(queued.path_count)
        ]),
    )


cdef class Lane:
    cdef lane *native
    cdef object started

    def __cinit__(self, int listener, rows, directories, schemes, mirrors, parents, int threads=2):
        if not 1 <= threads <= THREADS_LIMIT:
            raise ValueError(f"a lane has 1 to {THREADS_LIMIT} threads")
        self.native = lane_new(listener, threads)
        if self.native == NULL:
            raise OSError(errno, os.strerror(errno))
        for source in rows:
            for arch, number in enumerate((source.x86_64, source.i386)):
                if number is not None:
                    if number >= ROW_LIMIT:
                        raise ValueError(f"{source.name} has a number that the lane has no room for")
                    fill_row(&self.native.rows[arch][number], source)
        copy_texts(&self.native.court.prefixes.folders, (*directories, *mirrors))
        copy_texts(&self.native.court.prefixes.schemes, schemes)
        copy_texts(&self.native.court.prefixes.mirrors, mirrors)
        copy_texts(&self.native.court.prefixes.parents, parents)
        if lane_prepare(self.native) < 0:
            raise MemoryError
        self.started = False

    def __dealloc__(self):
        if self.native != NULL:
            with nogil:
                lane_free(self.native)

    def start(self):
        if self.started:
            raise RuntimeError("the lane has been started before")
        self.started = True
        cdef int error = lane_start(self.native)
        if error < 0:
            raise OSError(-error, os.strerror(-error))

    def stop(self):
        with nogil:
            lane_stop(self.native)

    @property
    def event(self):
        return self.native.event

    def take(self):
        cdef item *queued = lane_take(self.native)
        cdef item *following
        taken = []
        while queued != NULL:
            following = queued.next
            taken.append(trapped_of(queued))
            free(queued)
            queued = following
        return taken

    @property
    def ended(self):
        return bool(self.native.ended)

    def handed_out(self):
        lane_handed_out(self.native)

    def forget_links(self):
        links_forget(self.native.court.links)

    def counters(self):
        cdef counters_t sum = lane_counters(self.native)
        return {
            "received": sum.received,
            "continued": sum.continued,
            "handed_over": sum.handed_over,
            "cancelled": sum.cancelled,
            "foreign": sum.foreign,
        }
