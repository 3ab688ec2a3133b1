"""What is at a path of the local disk, as the tracee sees it: its root, and its own links of /proc."""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable

from broker.kernel import native
from broker.kernel.tracee import DELETED, Tracee, unmarked
from broker.linux import filesystem_type
from broker.namespace.mounts import Mounts, Place
from broker.namespace.resolve import Kind, Look, Resolution, Resolved, Seen
from broker.syscalls import permission

_PROC_SUPER_MAGIC = 0x9FA0
_PROC_ROOT_INO = 1


def place_behind(mounts: Mounts, tracee: Tracee, real: bytes) -> Place | None:
    """The place that a link of procfs leads to, read in our root; None if it is outside of the tracee's."""
    place = mounts.place_of(real)
    if place.mount is not None:
        return place
    path = tracee.inside(real)
    return None if path is None else Place(None, path)


async def walk(steps: Resolution, look: Callable[[Look], Awaitable[Seen | None]]) -> Resolved:
    """The result of a resolution whose questions `look` answers."""
    try:
        question = next(steps)
        while True:
            try:
                seen = await look(question)
            except OSError as error:
                question = steps.throw(error)
            else:
                question = steps.send(seen)
    except StopIteration as done:
        found: Resolved = done.value
        return found


def look_locally(mounts: Mounts, tracee: Tracee, path: bytes) -> Seen | None:
    """What is at an absolute path in the tracee's root; None where nothing is."""
    real = tracee.root() + path
    try:
        status = os.lstat(real)
        if (
            stat.S_ISLNK(status.st_mode)
            and os.major(status.st_dev) == 0
            and filesystem_type(os.path.dirname(real)) == _PROC_SUPER_MAGIC
        ):
            return _link_of_procfs(mounts, tracee, real, status)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return seen_as(status, real)


def is_above(tracee: Tracee, dirfd: int, real: bytes) -> bool:
    """Whether `..` of a folder without a name, by AT_FDCWD or descriptor, is what is at `real` by now."""
    try:
        return os.path.samestat(os.stat(real), tracee.above(dirfd))
    except FileNotFoundError:
        return False


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


def _link_of_procfs(mounts: Mounts, tracee: Tracee, real: bytes, status: os.stat_result) -> Seen | None:
    """Those in its root are ordinary ones, of which the kernel has some for each reader: they are the tracee's."""
    folder, name = os.path.split(real)
    if os.stat(folder).st_ino != _PROC_ROOT_INO:
        return _magic(mounts, tracee, real)
    if name not in (b"self", b"thread-self"):
        return seen_as(status, real)
    ours = status.st_dev == os.lstat(b"/proc/self").st_dev
    group, thread = (tracee.status.tgid, tracee.tid) if ours else tracee.own_numbers()
    return Seen(Kind.SYMLINK, b"%d" % group if name == b"self" else b"%d/task/%d" % (group, thread))


def _magic(mounts: Mounts, tracee: Tracee, real: bytes) -> Seen | None:
    """A link that is jumped to, maybe another process's: no more than the caller, or we, may know of it."""
    try:
        target = native.read_link(tracee.tid, real)
        if not target.startswith(b"/"):
            return Seen(Kind.MAGIC, target)
        if target.endswith(DELETED):
            status = os.stat(real)
            if status.st_nlink == 0:
                return Seen(Kind.MAGIC, target, kernels=True)
            target = unmarked(target, status)
    except FileNotFoundError:
        return None
    except native.Unreadable:
        raise permission.forbidden() from None
    place = place_behind(mounts, tracee, target)
    if place is None or os.path.islink(target):
        return Seen(Kind.MAGIC, target, kernels=True)
    return Seen(Kind.MAGIC, target if place.mount else place.path)
