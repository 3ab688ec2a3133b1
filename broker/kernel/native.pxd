"""What `native` takes from the C sources and the kernel's headers."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from posix.types cimport pid_t


cdef extern from "<linux/audit.h>":
    enum:
        _X86_64 "AUDIT_ARCH_X86_64"
        _I386 "AUDIT_ARCH_I386"

cdef extern from "<linux/filter.h>":
    struct sock_filter:
        pass
    struct sock_fprog:
        unsigned short len
        sock_filter *filter

cdef extern from "<linux/openat2.h>":
    struct open_how:
        uint64_t flags
        uint64_t mode
        uint64_t resolve
    enum:
        RESOLVE_BENEATH
        RESOLVE_NO_SYMLINKS
        RESOLVE_NO_MAGICLINKS

cdef extern from "<fcntl.h>":
    enum:
        O_CLOEXEC
        O_CREAT
        O_TMPFILE

cdef extern from "<sys/syscall.h>":
    enum:
        SYS_seccomp
        SYS_openat2
        SYS_getrandom

cdef extern from "<unistd.h>":
    long syscall(long number, ...) nogil

cdef extern from "src/spin.h":
    bint _spin "spin"(int epoll, uint64_t nanoseconds) nogil

cdef extern from "src/notification.h":
    int notification_send(int listener, uint64_t id, int64_t value, int error, unsigned flags) nogil
    int notification_add_fd(int listener, uint64_t id, int fd, int number, bint cloexec) nogil
    bint notification_valid(int listener, uint64_t id) nogil
    bint notification_sync_wake_up(int listener) nogil

cdef extern from "src/tracee.h":
    struct tracee_status:
        int tgid
        int threads
        unsigned umask
        unsigned ids[8]
        uint64_t effective
        uint64_t permitted
        uint64_t pending
        uint64_t shared_pending
        uint64_t blocked
        uint64_t ignored
        unsigned *groups
        size_t group_count
    long tracee_read(pid_t tid, uint64_t address, void *buffer, size_t length) nogil
    long tracee_read_string(pid_t tid, uint64_t address, char *buffer, size_t limit) nogil
    int tracee_write(pid_t tid, uint64_t address, const void *data, size_t length) nogil
    int tracee_open(pid_t tid, const char *name, int flags) nogil
    int tracee_copy_descriptor(pid_t tid, int fd) nogil
    int tracee_other_writer(pid_t tid, int fd) nogil
    int tracee_free_number(pid_t tid, int first, int last) nogil
    long tracee_read_link(pid_t tid, const char *path, char *buffer, size_t size) nogil
    int tracee_status_read "tracee_status"(pid_t tid, tracee_status *status) nogil

cdef extern from "src/perform.h":
    struct identity_t "identity":
        unsigned fsuid
        unsigned fsgid
        const unsigned *groups
        size_t group_count
        uint64_t capabilities
    struct argument:
        uint64_t value
        void *buffer
        size_t length
        bint writable
    int perform(uint32_t arch, long number, const argument *arguments, const identity_t *who, long *result) nogil

cdef extern from "src/prefixes.h":
    enum:
        PATH_LIMIT

cdef extern from "src/elf.h":
    long elf_interpreter_in "elf_interpreter"(int file, char *path) nogil

cdef extern from "src/memory.h":
    void memory_insist(int status)

cdef extern from "src/redirect.h":
    struct _redirect "redirect":
        int listener
        uint64_t id
        pid_t tid
        pid_t tgid
        uint32_t arch
        int descriptor
        long number
        uint64_t arguments[6]
        int descriptor_argument
        uint64_t cookie
        int failure
    int _run_redirect "redirect"(const _redirect *order, long *result) nogil
