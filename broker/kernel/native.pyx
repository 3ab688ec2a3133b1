"""System calls that the interpreter has no words for. All failures are OSError with the kernel's errno."""

import errno as _errno
import os
from typing import NamedTuple

from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, mmap, munmap
from posix.types cimport pid_t


AUDIT_ARCH_X86_64 = <uint32_t>_X86_64
AUDIT_ARCH_I386 = <uint32_t>_I386


class Unreadable(PermissionError):
    pass


class Identity(NamedTuple):
    fsuid: int
    fsgid: int
    groups: tuple
    capabilities: int


class Status(NamedTuple):
    tgid: int
    threads: int
    umask: int
    ids: tuple
    groups: tuple
    effective: int
    permitted: int
    pending: int
    shared_pending: int
    blocked: int
    ignored: int


cdef long check(long result) except -1:
    """`result`, or OSError for a negative errno."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


cdef long seen(long result) except -1:
    """`result` of a look into a tracee, or the errno: Unreadable where the kernel does not let us."""
    if result == -_errno.EPERM or result == -_errno.EACCES:
        raise Unreadable(-result, os.strerror(-result))
    return check(result)


cdef long last(long result) except -1:
    """The same for a call that leaves its error in errno."""
    return check(-errno if result < 0 else result)


def seccomp(unsigned operation, unsigned flags, bytes program):
    cdef sock_fprog filters
    if len(program) % sizeof(sock_filter) or len(program) // sizeof(sock_filter) > 0xFFFF:
        raise OSError(_errno.EINVAL, "not a whole number of BPF instructions")
    filters.len = len(program) // sizeof(sock_filter)
    filters.filter = <sock_filter *>PyBytes_AS_STRING(program)
    return last(syscall(SYS_seccomp, operation, flags, &filters))


def spin(int epoll, double seconds):
    cdef bint ready
    with nogil:
        ready = _spin(epoll, <uint64_t>(seconds * 1e9))
    return bool(ready)


def sync_wake_up(int listener):
    return bool(notification_sync_wake_up(listener))


def send(int listener, uint64_t cookie, int64_t value, int error, unsigned flags):
    cdef int sent
    with nogil:
        sent = notification_send(listener, cookie, value, error, flags)
    check(sent)


def add_fd(int listener, uint64_t cookie, int fd, number, bint cloexec):
    cdef int wanted = -1 if number is None else number
    cdef int added
    if number is not None and wanted < 0:
        raise OSError(_errno.EBADF, os.strerror(_errno.EBADF))
    with nogil:
        added = notification_add_fd(listener, cookie, fd, wanted, cloexec)
    return check(added)


def id_valid(int listener, uint64_t cookie):
    return bool(notification_valid(listener, cookie))


def read_memory(pid_t tid, uint64_t address, size_t length):
    return _read(tid, address, length, False)


def read_string(pid_t tid, uint64_t address, size_t limit):
    return _read(tid, address, limit, True)


cdef bytes _read(pid_t tid, uint64_t address, size_t length, bint string):
    cdef char *buffer = <char *>malloc(length + 1)
    cdef long got
    if buffer == NULL:
        raise MemoryError
    try:
        with nogil:
            if string:
                got = tracee_read_string(tid, address, buffer, length)
            else:
                got = tracee_read(tid, address, buffer, length)
        return PyBytes_FromStringAndSize(buffer, seen(got))
    finally:
        free(buffer)


def write_memory(pid_t tid, uint64_t address, data):
    cdef Py_buffer view
    cdef int written
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        with nogil:
            written = tracee_write(tid, address, view.buf, view.len)
        seen(written)
    finally:
        PyBuffer_Release(&view)


def status(pid_t tid):
    cdef tracee_status found
    cdef int error
    with nogil:
        error = tracee_status_read(tid, &found)
    check(error)
    try:
        return Status(
            found.tgid,
            found.threads,
            found.umask,
            tuple([found.ids[index] for index in range(8)]),
            tuple([found.groups[index] for index in range(found.group_count)]),
            found.effective,
            found.permitted,
            found.pending,
            found.shared_pending,
            found.blocked,
            found.ignored,
        )
    finally:
        free(found.groups)


cdef class _Buffers:
    """The six arguments of a call, with the buffers among them held in place."""

    cdef argument arguments[6]
    cdef Py_buffer views[6]
    cdef int held

    def __cinit__(self, values):
        cdef int index = 0
        memset(self.arguments, 0, sizeof(self.arguments))
        if len(values) > 6:
            raise ValueError("a system call has at most six arguments")
        for value in values:
            if isinstance(value, int):
                self.arguments[index].value = value & 0xFFFFFFFFFFFFFFFF
            else:
                self.hold(value, index)
            index += 1

    cdef int hold(self, value, int index) except -1:
        cdef Py_buffer *view = &self.views[self.held]
        cdef bint writable = not isinstance(value, bytes)
        PyObject_GetBuffer(value, view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
        self.held += 1
        self.arguments[index].buffer = view.buf
        self.arguments[index].length = view.len
        self.arguments[index].writable = writable
        return 0

    def __dealloc__(self):
        for index in range(self.held):
            PyBuffer_Release(&self.views[index])


cdef class _Who:
    """An Identity as the native part wants it."""

    cdef identity_t value
    cdef unsigned *groups

    def __cinit__(self, who):
        groups = who.groups
        self.groups = <unsigned *>malloc((len(groups) + 1) * sizeof(unsigned))
        if self.groups == NULL:
            raise MemoryError
        for index, group in enumerate(groups):
            self.groups[index] = group
        self.value.fsuid = who.fsuid
        self.value.fsgid = who.fsgid
        self.value.groups = self.groups
        self.value.group_count = len(groups)
        self.value.capabilities = who.capabilities

    def __dealloc__(self):
        free(self.groups)


def call(uint32_t arch, long number, arguments, identity=None):
    cdef _Buffers buffers = _Buffers(arguments)
    cdef _Who who = None if identity is None else _Who(identity)
    cdef const identity_t *as_whom = NULL if who is None else &who.value
    cdef int error
    cdef long result = 0
    with nogil:
        error = perform(arch, number, buffers.arguments, as_whom, &result)
    check(error)
    if -4096 < result < 0:
        check(result)
    return result


def open_beneath(int directory, bytes path, int flags, int mode=0):
    cdef open_how how
    cdef const char *name = PyBytes_AS_STRING(path)
    cdef long opened
    if b"\0" in path:
        raise OSError(_errno.EINVAL, "a NUL in the path")
    how.flags = <uint64_t><unsigned>(flags | O_CLOEXEC)
    how.mode = mode if flags & O_CREAT or flags & O_TMPFILE == O_TMPFILE else 0
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
    with nogil:
        opened = syscall(SYS_openat2, directory, name, &how, sizeof(how))
        if opened < 0:
            opened = -errno
    return check(opened)


def get_descriptor(pid_t tid, int number):
    cdef long copy
    with nogil:
        copy = tracee_copy_descriptor(tid, number)
    return seen(copy)


def other_writer(pid_t tid, int number):
    cdef long found
    with nogil:
        found = tracee_other_writer(tid, number)
    return None if found == -_errno.ENOENT else seen(found)


def free_number(pid_t tid, int first, int last):
    cdef long found
    with nogil:
        found = tracee_free_number(tid, first, last)
    return None if found == -_errno.ENOENT else seen(found)


def open_proc(pid_t tid, bytes name, int flags):
    cdef const char *text = name
    cdef long opened
    with nogil:
        opened = tracee_open(tid, text, flags)
    return seen(opened)


def read_link(pid_t tid, bytes path):
    cdef char buffer[4097]
    cdef const char *text = path
    cdef long length
    with nogil:
        length = tracee_read_link(tid, text, buffer, sizeof(buffer))
    return PyBytes_FromStringAndSize(buffer, seen(length))


def elf_interpreter(int file):
    cdef char path[PATH_LIMIT]
    cdef long length
    with nogil:
        length = elf_interpreter_in(file, path)
    return PyBytes_FromStringAndSize(path, length)


def redirect(
    int listener,
    uint64_t cookie,
    pid_t tid,
    pid_t tgid,
    uint32_t arch,
    int descriptor,
    long number,
    arguments,
    int descriptor_argument,
    int failure=0,
):
    cdef _redirect order
    cdef long result = 0
    cdef int error
    low, high = filter_cookie()
    order.listener = listener
    order.id = cookie
    order.tid = tid
    order.tgid = tgid
    order.arch = arch
    order.descriptor = descriptor
    order.number = number
    order.descriptor_argument = descriptor_argument
    order.cookie = low | high << 32
    order.failure = failure
    for index in range(6):
        order.arguments[index] = arguments[index] & 0xFFFFFFFFFFFFFFFF
    with nogil:
        error = _run_redirect(&order, &result)
    check(error)
    return result


def end_without_memory(int status):
    memory_insist(status)


cdef uint32_t[2] _cookie

def filter_cookie():
    while not (_cookie[0] and _cookie[1]):
        last(syscall(SYS_getrandom, _cookie, sizeof(_cookie), 0))
    return _cookie[0], _cookie[1]


cdef class Mapping:
    cdef void *address
    cdef size_t size

    def __cinit__(self, int file, size_t size):
        self.address = mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0)
        self.size = size
        if self.address == MAP_FAILED:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        if self.address != MAP_FAILED:
            munmap(self.address, self.size)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.address, self.size, True, flags)
