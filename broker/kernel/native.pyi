"""System calls that the interpreter has no words for. All failures are OSError with the kernel's errno."""

from typing import NamedTuple

AUDIT_ARCH_X86_64: int
AUDIT_ARCH_I386: int

class Unreadable(PermissionError):
    """The kernel lets nobody here look into a tracee: see ptrace(2), "Ptrace access mode checking".

    Everything here that reads or writes a tracee's memory, links or descriptors takes that thread's ids where it is
    refused, for a moment and in the calling thread alone. So the tracee has several ids, or is not dumpable, or this
    process may not take ids; or ptrace is forbidden altogether.
    """

class Identity(NamedTuple):
    """Who a call acts as: file-system ids, supplementary groups and effective capabilities (credentials(7))."""

    fsuid: int
    fsgid: int
    groups: tuple[int, ...]
    capabilities: int

class Status(NamedTuple):
    """What /proc/TID/status says of one thread. `ids` are (ruid, euid, suid, fsuid, rgid, egid, sgid, fsgid)."""

    tgid: int
    threads: int
    umask: int
    ids: tuple[int, int, int, int, int, int, int, int]
    groups: tuple[int, ...]
    effective: int
    permitted: int
    pending: int
    shared_pending: int
    blocked: int
    ignored: int

def seccomp(operation: int, flags: int, program: bytes) -> int:
    """seccomp(2) with a sock_fprog made of `program`; the listener for NEW_LISTENER."""

def spin(epoll: int, seconds: float) -> bool:
    """Look again and again, without the interpreter, until the epoll instance has an event; False if time is up."""

def sync_wake_up(listener: int) -> bool:
    """Ask for SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP; False where the kernel has none (before 6.6)."""

def send(listener: int, cookie: int, value: int, error: int, flags: int) -> None:
    """SECCOMP_IOCTL_NOTIF_SEND; `error` is negative or 0. ENOENT when the call was cancelled."""

def add_fd(listener: int, cookie: int, fd: int, number: int | None, cloexec: bool) -> int:
    """SECCOMP_IOCTL_NOTIF_ADDFD without SEND: the number in the tracee; at `number` exactly if given (SETFD)."""

def id_valid(listener: int, cookie: int) -> bool:
    """SECCOMP_IOCTL_NOTIF_ID_VALID: whether the call still waits."""

def read_memory(tid: int, address: int, length: int) -> bytes:
    """Up to `length` bytes, cut off at the first page that cannot be read; EFAULT when there is none."""

def read_string(tid: int, address: int, limit: int) -> bytes:
    """The bytes before the NUL; ENAMETOOLONG when there is none within `limit`; EFAULT on a bad pointer."""

def write_memory(tid: int, address: int, data: bytes | bytearray | memoryview) -> None:
    """All of `data` into the tracee, or EFAULT. Check `id_valid` immediately before."""

def status(tid: int) -> Status:
    """ESRCH or ENOENT when the thread is gone."""

def call(
    arch: int,
    number: int,
    arguments: tuple[int | bytes | bytearray, ...],
    identity: Identity | None = None,
) -> int:
    """Run one system call here, without the interpreter lock, and return its result.

    bytes and bytearrays are passed as pointers to their content (bytes get a NUL behind them, as they have in
    CPython); what the kernel writes into a bytearray stands there afterwards. With AUDIT_ARCH_I386 the call is made
    through the 32-bit entry, with buffers copied below 4 GiB. With an identity, this thread alone takes it for the
    length of the call (setfsuid, setfsgid, setgroups and capset by raw system calls) and takes its own back.
    OSError with the call's errno, or with that of the identity that could not be taken.
    """

def open_beneath(directory: int, path: bytes, flags: int, mode: int = 0) -> int:
    """openat2(2) with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS and O_CLOEXEC."""

def get_descriptor(tid: int, number: int) -> int:
    """A copy, close-on-exec, of the open file description behind a tracee's descriptor; EBADF if it has none.

    pidfd_open(2) with PIDFD_THREAD where the kernel has it (6.9), of the thread group otherwise; pidfd_getfd(2).
    Docker's profile keeps the latter for CAP_SYS_PTRACE.
    """

def other_writer(tid: int, number: int) -> int | None:
    """Another of a tracee's descriptors that shows the same path in /proc as descriptor `number`, and can write; None
    if it has none. EBADF."""

def free_number(tid: int, first: int, last: int) -> int | None:
    """The first number from `first` to `last` that is no descriptor of a tracee's; None if all are."""

def open_proc(tid: int, name: bytes, flags: int) -> int:
    """A descriptor of /proc/TID/`name`, close-on-exec."""

def read_link(tid: int, path: bytes) -> bytes:
    """The text of a link, of /proc above all, as the tracee may read it if this process may not."""

def elf_interpreter(file: int) -> bytes:
    """The path that an open program names as its ELF interpreter (PT_INTERP); empty where it names none."""

def redirect(
    listener: int,
    cookie: int,
    tid: int,
    tgid: int,
    arch: int,
    descriptor: int,
    number: int,
    arguments: tuple[int, int, int, int, int, int],
    descriptor_argument: int,
    failure: int = 0,
) -> int:
    """Let the tracee run another system call in place of the trapped one, changing its registers only.

    `descriptor` is injected close-on-exec, its number in the tracee put into `arguments[descriptor_argument]`,
    the system call `number` (of `arch`) is run with the cookie of `filter_cookie` in its sixth argument if that
    argument is 0, the injected descriptor closed, and the registers restored with the result. No descriptor is
    injected if it is -1. With `failure`, an errno, the tracee sees that error where the call succeeds. Returns the
    result (negative errno of the tracee's call, or 0 after a successful exec). The notification has been
    answered when this returns. OSError when the redirect could not begin (EPERM: ptrace was refused; the
    notification is then unanswered); ProcessLookupError when the tracee died on the way; FileNotFoundError when a
    signal cancelled the call (before Linux 5.19). For a tracee without a free descriptor the result is -EMFILE.
    Blocks; call it on a worker thread, which traces for the length of the call.
    """

def end_without_memory(status: int) -> None:
    """From now on this process ends with `status`, and a line on stderr, where it would have raised MemoryError.

    The interpreter's own machinery does not survive one: Thread.start() waits for ever for a thread that got no
    memory for its first frame, a pool keeps work for a thread that has ended, a loop forgets whom to wake. Requests
    of 1 MiB and more, and those of libraries, still fail.
    """

def filter_cookie() -> tuple[int, int]:
    """The secret (low, high) halves that make a re-run call pass the filter: drawn once, kept over fork."""

class Mapping:
    """A read-only buffer: the first `size` bytes of a file, as they are at any moment (mmap(2)).

    Unlike `mmap.mmap` it makes no descriptor: to close one of a file that SQLite has open takes SQLite's locks away.
    """

    def __init__(self, file: int, size: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
