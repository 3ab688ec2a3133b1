"""Who has a file of the mirror open, asked of the kernel by fcntl leases, across all sessions.

A lease is taken and given back at once. Somebody who opens the file in that moment waits for it; the SIGIO that
tells us is blocked in the broker.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

_FLOCK = struct.Struct("hhqqi4x")


def has_writer(file: int) -> bool:
    """Whether a descriptor or a mapping can still write to the file; `file` is open for reading (F_RDLCK)."""
    return not _lease(file, fcntl.F_RDLCK)


def is_open(file: int) -> bool:
    """Whether anybody else has the file open at all; `file` is the only descriptor of ours (F_WRLCK)."""
    return not _lease(file, fcntl.F_WRLCK)


def is_locked(file: int) -> bool:
    """Whether anybody holds a POSIX or OFD record lock on the file (F_OFD_GETLK)."""
    wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    found: int = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_OFD_GETLK, wanted))[0]
    return found != fcntl.F_UNLCK


def _lease(file: int, kind: int) -> bool:
    try:
        fcntl.fcntl(file, fcntl.F_SETLEASE, kind)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return False
        raise
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True
