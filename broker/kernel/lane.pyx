"""The lane: native threads that answer what does not concern a drive, and queue what may."""

import os
from typing import NamedTuple

from broker.kernel.native import Identity
from broker.kernel.traits import traits_of

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport errno
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy


class Trapped(NamedTuple):
    cookie: int
    tid: int
    arch: int
    number: int
    arguments: tuple
    paths: tuple
    own: bool = False
    identity: object = None
    real: object = None
    rooted: bool = True


cdef int copy_texts(texts *target, values) except -1:
    target.items = <text *>calloc(len(values) + 1, sizeof(text))
    if target.items == NULL:
        raise MemoryError
    for value in values:
        copy_text(&target.items[target.count], value)
        target.count += 1
    return 0


cdef int copy_text(text *target, bytes value) except -1:
    cdef char *copied = <char *>malloc(len(value) + 1)
    if copied == NULL:
        raise MemoryError
    memcpy(copied, PyBytes_AS_STRING(value), len(value) + 1)
    target.bytes = copied
    target.length = len(value)
    return 0


cdef int fill_row(row *target, source) except -1:
    target.known = True
    target.trap = source.trap
    target.fd = ABSENT if source.fd is None else source.fd
    target.path_count = len(source.paths)
    for index, (dirfd, path) in enumerate(source.paths):
        target.paths[index].dirfd = ABSENT if dirfd is None else dirfd
        target.paths[index].path = path
    traits = traits_of(source)
    target.follows = traits.follows
    target.flags_argument = traits.flags_argument
    target.flags = traits.flags
    target.opens = traits.opens
    target.socket = traits.socket
    target.packed = traits.packed
    target.relinks = traits.relinks
    target.mounts = traits.mounts
    target.shows = traits.shows
    target.output = traits.output
    target.sets = traits.sets
    return 0


cdef object identity_of(const identity *known, tuple groups):
    return Identity(known.fsuid, known.fsgid, groups, known.capabilities)


cdef tuple identities_of(const identities *known):
    if known.effective.groups == NULL:
        return None, None
    groups = tuple([known.effective.groups[index] for index in range(known.effective.group_count)])
    return identity_of(&known.effective, groups), identity_of(&known.real, groups)


cdef object trapped_of(const item *queued):
    identity, real = identities_of(&queued.others)
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
        queued.own,
        identity,
        real,
        queued.rooted,
    )


cdef class Warm:
    """What the lane may answer by itself, of all mounts."""
    cdef warm *native
    cdef size_t count
    cdef list buffers

    def __cinit__(self, size_t count):
        if count > MOUNTS_LIMIT:
            raise ValueError(f"at most {MOUNTS_LIMIT} mounts")
        self.native = warm_new(count)
        if self.native == NULL:
            raise MemoryError
        self.count = count
        self.buffers = []

    def __dealloc__(self):
        if self.native != NULL:
            warm_free(self.native)

    def drive(self, size_t number, bytes prefix, bytes root, int root_fd, shared, seen, folder=None, memory=None):
        if number >= self.count:
            raise IndexError(number)
        cdef const unsigned char[::1] theirs = shared
        cdef const unsigned char[::1] known = seen
        cdef drive *target = &self.native.drives[number]
        copy_text(&target.prefix, prefix)
        copy_text(&target.root, root)
        target.scheme = prefix.endswith(b":")
        target.root_fd = root_fd
        target.folder = -1 if folder is None else folder
        cdef const unsigned char[::1] witness
        if memory is not None:
            witness = memory
            target.state = <const char *>&witness[0]
            target.state_size = len(witness)
            self.buffers.append(witness)
        target.shared_size = len(known)
        target.seen = <const char *>&known[0]
        target.shared = <const char *>&theirs[0]
        self.buffers.append((theirs, known))

    def close(self):
        warm_close(self.native)
        self.buffers.clear()

    def of(self, size_t number):
        if number >= self.count:
            raise IndexError(number)
        return WarmDrive(self, number)


cdef class WarmDrive:
    cdef Warm owner
    cdef size_t number

    def __cinit__(self, Warm owner, size_t number):
        self.owner = owner
        self.number = number

    def name(self, bytes path, double until):
        warm_name(self.owner.native, self.number, path, len(path), <uint64_t>(until * 1e9))

    def listing(self, bytes path, double until):
        warm_listing(self.owner.native, self.number, path, len(path), <uint64_t>(until * 1e9))

    def forget_names(self):
        warm_forget_names(self.owner.native, self.number)

    def node(self, uint64_t ino, nlink, blocks, uint16_t set_id, bint dirty):
        cdef shown node
        node.has_nlink = nlink is not None
        node.nlink = nlink or 0
        node.has_blocks = blocks is not None
        node.blocks = blocks or 0
        node.set_id = set_id
        node.dirty = dirty
        warm_node(self.owner.native, self.number, ino, &node)

    def forget_node(self, uint64_t ino):
        warm_node(self.owner.native, self.number, ino, NULL)

    def forget_nodes(self):
        warm_forget_nodes(self.owner.native, self.number)

    def witnessed(self, bytes path, uint64_t ino, version, bytes state):
        warm_witnessed(self.owner.native, self.number, path, len(path), ino, self.key(version or ""), state)

    def complete(self, uint64_t ino, str version, double until):
        warm_complete(self.owner.native, self.number, ino, self.key(version), <uint64_t>(until * 1e9))

    cdef uint64_t key(self, str version):
        cdef bytes text = version.encode()
        return version_text_key(self.owner.native.seed, text, len(text))


cdef class Lane:
    cdef lane *native
    cdef object started
    cdef Warm warm

    def __cinit__(
        self, int listener, rows, directories, schemes, mirrors, parents, int threads=4, Warm warm=None
    ):
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
        if warm is not None:
            self.warm = warm
            self.native.court.warm = warm.native
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
            "answered": sum.answered,
            "handed_over": sum.handed_over,
            "cancelled": sum.cancelled,
            "foreign": sum.foreign,
        }
