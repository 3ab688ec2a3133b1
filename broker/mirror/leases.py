"""Who has a file of the mirror open, asked of the kernel by fcntl leases, across all sessions.

A lease is taken and given back at once. Somebody who opens the file in that moment waits for it; the signal that
tells us is SIGURG, which is ignored by default, where SIGIO would end the process (fcntl(2), F_SETSIG).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
import struct
from collections.abc import Iterator

from broker.linux import set_fsuid

_FLOCK = struct.Struct("hhqqi4x")


def has_writer(file: int) -> bool:
    """Whether a descriptor or a mapping can still write to the file; `file` is open for reading (F_RDLCK)."""
    return not _lease(file, fcntl.F_RDLCK)


def is_open(file: int) -> bool:
    """Whether anybody else has the file open at all; `file` is the only descriptor of ours (F_WRLCK)."""
    return not _lease(file, fcntl.F_WRLCK)


def is_locked(file: int) -> bool:
    """Whether anybody holds a POSIX or OFD record lock (F_OFD_GETLK) or a flock(2) on the file.

    A flock can only be asked about by taking it: /proc/locks does not list those whose taker has ended
    or is in another pid namespace. Somebody's own flock with LOCK_NB may fail in that moment.
    """
    wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    found: int = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_OFD_GETLK, wanted))[0]
    if found != fcntl.F_UNLCK:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _lease(file: int, kind: int) -> bool:
    """Whether a lease can be had. Where we may not ask, somebody is taken to have the file open.

    There are none but of regular files (generic_setlease in fs/locks.c), and in what is none nobody writes content.
    """
    fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
    try:
        _set_lease(file, kind)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if error.errno != errno.EINVAL or stat.S_ISREG(os.fstat(file).st_mode):
            raise
    return True


def _set_lease(file: int, kind: int) -> None:
    try:
        _take_and_give_back(file, kind)
    except PermissionError:
        # Without CAP_LEASE, as in a container, a lease is for the file's owner (fcntl(2)).
        with _as_owner(file):
            _take_and_give_back(file, kind)


def _take_and_give_back(file: int, kind: int) -> None:
    fcntl.fcntl(file, fcntl.F_SETLEASE, kind)
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)


@contextlib.contextmanager
def _as_owner(file: int) -> Iterator[None]:
    """Let this thread, and no other, act as the file's owner (setfsuid(2))."""
    own = set_fsuid(os.fstat(file).st_uid)
    try:
        yield
    finally:
        set_fsuid(own)
