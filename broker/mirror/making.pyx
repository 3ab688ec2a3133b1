"""Nodes made and looked for in one folder, many in a row without the interpreter lock."""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free


cdef extern from "<fcntl.h>":
    enum:
        _AT_FDCWD "AT_FDCWD"

cdef extern from "src/place.h":
    struct placeholder:
        const char *name
        const char *target
        unsigned mode
        bint owned
        unsigned uid
        unsigned gid
        uint64_t rdev
        int64_t size
        int64_t atime_ns
        int64_t mtime_ns
        int64_t made
    size_t _place "place"(int folder, placeholder *wanted, size_t count, uint64_t nanoseconds) nogil
    void _find "find"(int folder, placeholder *wanted, size_t count) nogil


AT_FDCWD = <int>_AT_FDCWD


cdef class _Placeholders:
    """So many, for as long as this object lives; what they point to is the caller's."""

    cdef placeholder *all

    def __cinit__(self, size_t count):
        self.all = <placeholder *>calloc(count + 1, sizeof(placeholder))
        if self.all == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.all)

    cdef list made(self, size_t count):
        cdef size_t index
        return [self.all[index].made for index in range(count)]


cdef const char *_text(bytes text) except NULL:
    if b"\0" in text:
        raise ValueError("embedded null byte")
    return PyBytes_AS_STRING(text)


def place(int folder, nodes, bint owners, double seconds):
    cdef tuple held = tuple(nodes)
    cdef size_t count = len(held), index, done
    cdef _Placeholders wanted = _Placeholders(count)
    cdef placeholder *one
    cdef uint64_t nanoseconds = <uint64_t>(seconds * 1e9)
    for index in range(count):
        one = &wanted.all[index]
        name, attributes = held[index]
        uid, gid, target = attributes.uid, attributes.gid, attributes.target
        one.name = _text(name)
        if target is not None:
            one.target = _text(target)
        one.mode = attributes.mode
        one.owned = owners and uid is not None and gid is not None
        if one.owned:
            one.uid, one.gid = uid, gid
        one.rdev, one.size = attributes.rdev, attributes.size
        one.atime_ns, one.mtime_ns = attributes.atime_ns, attributes.mtime_ns
    with nogil:
        done = _place(folder, wanted.all, count, nanoseconds)
    return wanted.made(done)


def inodes(int folder, names):
    cdef tuple held = tuple(names)
    cdef size_t count = len(held), index
    cdef _Placeholders wanted = _Placeholders(count)
    for index in range(count):
        wanted.all[index].name = _text(held[index])
    with nogil:
        _find(folder, wanted.all, count)
    return wanted.made(count)
