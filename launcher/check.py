"""`seccomp-drive check`: what this machine allows, one line each, with the remedy for what is missing."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from msgspec import Struct

from broker.kernel import native
from broker.settings import MountSettings
from launcher import probe
from launcher.document import PolicyError
from launcher.policy import load
from launcher.procfs import NOT_OURS, is_ours

_GETPID_I386 = 20
_IO_URING_SETUP = 425
_IO_URING_PARAMS = 120
_DESCRIPTORS = 1024
_YAMA = "/proc/sys/kernel/yama/ptrace_scope"


class Finding(Struct, frozen=True):
    """One line. A warning works with a limit; what the machine lacks, or is wrong in what was asked for, prevents a
    session or breaks its promises."""

    level: Literal["ok", "warn", "missing", "wrong"]
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.level:<8}{self.what}" + (f"; {self.remedy}" if self.remedy else "")


def check(policy: str | None, mounts: Sequence[str]) -> int:
    """Print the findings; 0, or 1 when something is missing or wrong."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the probes wait for their children
    complete = True
    for finding in _findings(policy, mounts):
        print(finding, flush=True)
        complete = complete and finding.level in ("ok", "warn")
    return 0 if complete else 1


def _findings(policy: str | None, mounts: Sequence[str]) -> Iterator[Finding]:
    yield kernel(os.uname().release)
    if not is_ours():
        yield Finding("missing", "processes of this pid namespace", NOT_OURS)
        return
    yield from supervised(probe.supervision())
    yield _dropped_ids()
    yield _copies()
    yield descriptors(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield _i386()
    yield _io_uring()
    try:
        settings = load(policy, mounts, os.environ)
    except PolicyError as error:
        yield Finding("wrong", "policy", str(error))
        return
    prefixes = ", ".join(os.fsdecode(mount.prefix) for mount in settings.mounts)
    yield Finding("ok", f"policy: {prefixes}")
    yield cache(settings.cache_directory)
    yield from map(_remote, settings.mounts)


def _remote(mount: MountSettings) -> Finding:
    from broker.maintenance import unreachable

    what = f"remote {mount.remote.url} at {os.fsdecode(mount.prefix)}"
    reason = unreachable(mount)
    return Finding("ok", f"{what} answers") if reason is None else Finding("wrong", what, reason)


def kernel(release: str) -> Finding:
    """What `release` is known to lack; all else is tried."""
    number = re.match(r"(\d+)\.(\d+)", release)
    version = (int(number[1]), int(number[2])) if number else (0, 0)
    if version < (5, 9):
        return Finding("missing", f"kernel {release}", "Linux 5.9 or newer is needed")
    if version < (6, 17):
        return Finding(
            "warn", f"kernel {release}", "before Linux 6.17 a signal can make a finished call run a second time"
        )
    return Finding("ok", f"kernel {release}")


def supervised(found: probe.Supervision) -> Iterator[Finding]:
    """The findings of a tried supervision."""
    if found.refusal is not None:
        yield Finding("missing", "user notification", found.refusal)
        return
    yield Finding("ok", "user notification: no other listener is on this process")
    yield _either(
        found.killable,
        "WAIT_KILLABLE_RECV",
        Finding("warn", "WAIT_KILLABLE_RECV", "signals interrupt calls more often; Linux 5.19 has it"),
    )
    yield _either(
        found.sync_wake_up,
        "synchronous wake-up",
        Finding("warn", "synchronous wake-up", "each trapped call takes about 3 µs longer; Linux 6.6 has it"),
    )
    yield _either(
        found.add_fd is None,
        "descriptors put into the program (ADDFD and SEND)",
        Finding("missing", f"ADDFD: {found.add_fd}", "Linux 5.9 or newer is needed"),
    )
    yield _either(
        found.redirect is None,
        "ptrace of the program, for chdir and exec on a drive",
        Finding("missing", f"ptrace: {found.redirect}", _ptrace_remedy()),
    )


def descriptors(limit: int) -> Finding:
    if 0 <= limit < _DESCRIPTORS:  # RLIM_INFINITY is -1
        remedy = f"the close of a file may return before it is pushed; raise it: ulimit -n {_DESCRIPTORS}"
        return Finding("warn", f"descriptor limit {limit}", remedy)
    return Finding("ok", f"descriptor limit {limit}")


def cache(directory: str) -> Finding:
    """Try the file system under the cache directory, which is made if it is not there."""
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            path = os.path.join(scratch, "file")
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))  # a lease is not given while it is open
            lacking = [name for name, works in _FILE_SYSTEM.items() if not works(path)]
    except OSError as error:
        return Finding("missing", f"cache {directory}: {error.strerror}", "give a folder of your own as cache.dir")
    if not lacking:
        return Finding("ok", f"cache {directory}: leases, sparse files, extended attributes")
    level: Literal["warn", "missing"] = "missing" if "leases" in lacking else "warn"
    remedy = "give a folder on ext4, xfs, btrfs or tmpfs as cache.dir"
    return Finding(level, f"cache {directory}: no {', no '.join(lacking)}", remedy)


def _either(works: bool, what: str, otherwise: Finding) -> Finding:
    return Finding("ok", what) if works else otherwise


def _ptrace_remedy() -> str:
    try:
        with open(_YAMA) as file:
            scope = file.read().strip()
    except OSError:
        scope = "0"
    if scope in ("2", "3"):
        return f"kernel.yama.ptrace_scope is {scope}; set it to 1, or give CAP_SYS_PTRACE"
    return "allow ptrace(2) in the profile of the sandbox around this process"


def _dropped_ids() -> Finding:
    what = "reading a program that drops its ids"
    if os.geteuid() != 0:
        return Finding("ok", f"{what}: not needed, all callers are you")
    try:
        way = probe.foreign_memory()
    except OSError as error:
        return Finding("warn", f"{what}: not tried: {error.strerror}", "no process can become nobody (65534) here")
    if way == "capability":
        return Finding("ok", f"{what}: by CAP_SYS_PTRACE")
    if way == "ids":
        remedy = "those that do so without an exec afterwards see no drive; in a container, --cap-add SYS_PTRACE"
        return Finding("warn", f"{what}: by taking its ids", remedy)
    remedy = (
        "it sees no drive; give CAP_SYS_PTRACE (in a container --cap-add SYS_PTRACE), or CAP_SETUID and CAP_SETGID"
    )
    return Finding("warn", what, remedy)


def _copies() -> Finding:
    what = "copies of a program's descriptors (pidfd_getfd)"
    remedy = (
        "watching a drive with inotify is refused, and programs poll; in a container, --cap-add SYS_PTRACE allows it"
    )
    return _either(probe.descriptor_copies(), what, Finding("warn", what, remedy))


def _i386() -> Finding:
    works = probe.call_works(native.AUDIT_ARCH_I386, _GETPID_I386)
    return Finding("ok", "32-bit programs: served" if works else "32-bit programs: this kernel runs none")


def _io_uring() -> Finding:
    params = bytearray(_IO_URING_PARAMS)
    works = probe.call_works(native.AUDIT_ARCH_X86_64, _IO_URING_SETUP, 1, params)
    return Finding("ok", "io_uring: programs are refused it and fall back" if works else "io_uring: off here")


def _leases(path: str) -> bool:
    def take(lease: int) -> None:
        with open(path) as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, lease)

    return _works(lambda: take(fcntl.F_RDLCK)) and _works(lambda: take(fcntl.F_WRLCK))


def _sparse(path: str) -> bool:
    os.truncate(path, 1 << 20)
    return os.stat(path).st_blocks * 512 < 1 << 20


def _xattrs(path: str) -> bool:
    return _works(lambda: os.setxattr(path, b"user.seccomp-drive", b"1"))


def _works(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


_FILE_SYSTEM = {"leases": _leases, "sparse files": _sparse, "extended attributes": _xattrs}
