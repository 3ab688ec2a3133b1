"""One node of the mirror: making it, opening it, and what a call has changed of it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Collection, Iterator, Mapping

from broker.linux import punch_hole
from broker.mirror import making
from broker.remotes.protocol import Attributes, Changes

SET_ID = stat.S_ISUID | stat.S_ISGID
USER = b"user."
_EARLIEST, _LATEST = -(1 << 63), (1 << 63) - 1
_BLOCK_MOST = 1 << 20


class Unplaceable(OSError):
    """The cache can hold no such node: a device without the privilege, or a file beyond the file system's limit."""


def make(real: bytes, attributes: Attributes, *, owners: bool) -> int:
    """Make what a remote describes, a regular file as one hole of the right size; its inode number.

    `owners`: it is given the remote's owner as well.
    """
    (made,) = making.place(making.AT_FDCWD, [(real, attributes)], owners, 0)
    if made < 0:
        kind = Unplaceable if is_unplaceable(made, attributes) else OSError
        raise kind(-made, os.strerror(-made), real)
    return made


def is_unplaceable(made: int, attributes: Attributes) -> bool:
    """Whether this negative errno says that the cache can hold no such node."""
    if attributes.is_regular:
        return made == -errno.EFBIG
    return not (attributes.is_directory or attributes.is_symlink) and made in (-errno.EPERM, -errno.EACCES)


def dress(real: bytes, attributes: Attributes, *, owners: bool) -> None:
    """Give a node the remote's mode and times, and with `owners` its owner, but to files no set-id bits."""
    if owners and attributes.uid is not None and attributes.gid is not None:
        os.chown(real, attributes.uid, attributes.gid, follow_symlinks=False)
    if not attributes.is_symlink:
        dropped = 0 if attributes.is_directory else SET_ID
        os.chmod(real, stat.S_IMODE(attributes.mode) & ~dropped)
    os.utime(real, ns=(attributes.atime_ns, attributes.mtime_ns), follow_symlinks=False)


def clamp_times(node: bytes | int) -> os.stat_result:
    """Give a node, by its path or a descriptor, the nearest times that 64 bits of nanoseconds have, of the years 1677
    to 2262: what is on record, and what goes to a remote, has no others (utimensat(2): file systems clamp as well).
    What the node is then."""
    real = b"/proc/self/fd/%d" % node if isinstance(node, int) else node
    follow = isinstance(node, int)
    status = os.stat(real, follow_symlinks=follow)
    times = status.st_atime_ns, status.st_mtime_ns
    if all(_EARLIEST <= time <= _LATEST for time in times):
        return status
    accessed, modified = (max(_EARLIEST, min(time, _LATEST)) for time in times)
    os.utime(real, ns=(accessed, modified), follow_symlinks=follow)
    return os.stat(real, follow_symlinks=follow)


def make_hole(file: int, size: int, mtime_ns: int) -> None:
    """Take the content of `file`, which is open for writing: what stays is a hole of that size.

    It is punched, so that nobody sees the file shorter meanwhile, where the file system knows how.
    """
    before = os.fstat(file)
    if before.st_size != size or not _punched(file, size):
        os.ftruncate(file, 0)
        os.ftruncate(file, size)
    os.utime(file, ns=(before.st_atime_ns, mtime_ns))


def _punched(file: int, size: int) -> bool:
    """Beyond the end: the last block goes only if all of it is in the range."""
    try:
        punch_hole(file, size + _BLOCK_MOST)
    except OSError:
        return False
    return True


def reopen(node: int, flags: int) -> int:
    """Another descriptor of what is behind one, whatever its mode allows its owner.

    Hold the node's lock: its mode may be another meanwhile.
    """
    real = b"/proc/self/fd/%d" % node
    flags |= os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(real, flags)
    except PermissionError:
        mode = stat.S_IMODE(os.fstat(node).st_mode)
        os.chmod(real, mode | stat.S_IRUSR | stat.S_IWUSR)
        try:
            return os.open(real, flags)
        finally:
            os.chmod(real, mode)


def get_xattrs(real: bytes) -> dict[bytes, bytes]:
    """The extended attributes of the ``user.`` namespace."""
    names = map(os.fsencode, os.listxattr(real, follow_symlinks=False))
    return {name: os.getxattr(real, name, follow_symlinks=False) for name in names if name.startswith(USER)}


def set_xattrs(real: bytes, wanted: Mapping[bytes, bytes]) -> None:
    """Make those of the ``user.`` namespace the wanted ones."""
    present = get_xattrs(real)
    for name in present.keys() - wanted.keys():
        os.removexattr(real, name, follow_symlinks=False)
    for name, value in wanted.items():
        if present.get(name) != value:
            os.setxattr(real, name, value, follow_symlinks=False)


@contextlib.contextmanager
def lending(real: bytes) -> Iterator[None]:
    """Let the owner write to a node whose mode denies it; hold the node's lock."""
    if os.access(real, os.W_OK, effective_ids=True):
        yield
        return
    mode = stat.S_IMODE(os.stat(real).st_mode)
    os.chmod(real, mode | stat.S_IWUSR)
    try:
        yield
    finally:
        os.chmod(real, mode)


def changes_between(before: os.stat_result, after: os.stat_result) -> Changes:
    """What a call has changed of a node's attributes, as a remote would be told."""
    mode_changed = stat.S_IMODE(before.st_mode) != stat.S_IMODE(after.st_mode)
    times_changed = (before.st_mtime_ns, before.st_atime_ns) != (after.st_mtime_ns, after.st_atime_ns)
    return Changes(
        mode=stat.S_IMODE(after.st_mode) if mode_changed else None,
        uid=after.st_uid if before.st_uid != after.st_uid else None,
        gid=after.st_gid if before.st_gid != after.st_gid else None,
        mtime_ns=after.st_mtime_ns if times_changed else None,
        atime_ns=after.st_atime_ns if times_changed else None,
    )


def changes_of(status: os.stat_result, *, owners: bool) -> Changes:
    """The attributes of a node in the mirror, all of them, for a node that the remote is to have."""
    return Changes(
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid if owners else None,
        gid=status.st_gid if owners else None,
        mtime_ns=status.st_mtime_ns,
        atime_ns=status.st_atime_ns,
    )


def remove_known(real: bytes, inos: Collection[int]) -> None:
    """Remove one of these nodes; a folder that something is left in stays."""
    status = os.lstat(real)
    if status.st_ino not in inos:
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(real)
        return
    try:
        os.rmdir(real)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
