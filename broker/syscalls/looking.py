"""What is at a path of the local disk, as the tracee sees it: its root, and its own links of /proc."""

from __future__ import annotations

import os
import stat

from broker.kernel import native
from broker.kernel.tracee import DELETED, Tracee, unmarked
from broker.namespace.resolve import Kind, Seen
from broker.syscalls import permission


def look_locally(tracee: Tracee, path: bytes) -> Seen | None:
    """What is at an absolute path in the tracee's root; None where nothing is."""
    if path == b"/proc/self":
        return Seen(Kind.SYMLINK, b"%d" % tracee.status.tgid)
    if path == b"/proc/thread-self":
        return Seen(Kind.SYMLINK, b"%d/task/%d" % (tracee.status.tgid, tracee.tid))
    real = tracee.root() + path
    try:
        status = os.lstat(real)
    except (FileNotFoundError, NotADirectoryError):
        return None
    magic = stat.S_ISLNK(status.st_mode) and path.startswith(b"/proc/") and path.count(b"/") > 2
    return _magic(tracee, real) if magic else seen_as(status, real)


def seen_as(status: os.stat_result, real: bytes) -> Seen | None:
    """What `status` says of what is at `real`; None if a symlink is gone by now."""
    if stat.S_ISDIR(status.st_mode):
        return Seen(Kind.DIRECTORY)
    if not stat.S_ISLNK(status.st_mode):
        return Seen(Kind.FIFO if stat.S_ISFIFO(status.st_mode) else Kind.OTHER)
    try:
        return Seen(Kind.SYMLINK, os.readlink(real))
    except FileNotFoundError:
        return None


def _magic(tracee: Tracee, real: bytes) -> Seen | None:
    """A link of /proc, which may be another process's: no more than the caller, or we, may know of it."""
    try:
        target = native.read_link(tracee.tid, real)
        if not target.endswith(DELETED):
            return Seen(Kind.MAGIC, target)
        status = os.stat(real)
        return Seen(Kind.MAGIC, unmarked(target, status), nameless=status.st_nlink == 0)
    except FileNotFoundError:
        return None
    except native.Unreadable:
        raise permission.forbidden() from None
