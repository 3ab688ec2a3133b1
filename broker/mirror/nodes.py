"""One node of the mirror: making it, opening it, and what a call has changed of it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Collection, Iterator, Mapping

from broker.linux import punch_hole
from broker.remotes.protocol import Attributes, Changes

SET_ID = stat.S_ISUID | stat.S_ISGID
USER = b"user."
_BLOCK_MOST = 1 << 20


class Unplaceable(OSError):
    """The cache can hold no such node: a device without the privilege, or a file beyond the file system's limit."""


def make(real: bytes, attributes: Attributes, *, owners: bool) -> int:
    """Make what a remote describes, a regular file as one hole of the right size; its inode number.

    `owners`: it is given the remote's owner as well.
    """
    kind = stat.S_IFMT(attributes.mode)
    if kind == stat.S_IFREG:
        return _make_regular(real, attributes, owners)
    if kind == stat.S_IFDIR:
        os.mkdir(real, 0o700)
    elif kind == stat.S_IFLNK:
        os.symlink(attributes.target or b"", real)
    else:
        try:
            os.mknod(real, kind | 0o600, attributes.rdev)
        except PermissionError as error:
            raise Unplaceable(error.errno, error.strerror) from None
    dress(real, attributes, owners=owners)
    return os.lstat(real).st_ino


def _make_regular(real: bytes, attributes: Attributes, owners: bool) -> int:
    """All by its descriptor: of 10,000 names in a folder, each look at the path would be felt."""
    mode = stat.S_IMODE(attributes.mode) & ~SET_ID
    file = os.open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        status = os.fstat(file)
        if attributes.size:
            os.ftruncate(file, attributes.size)
        uid, gid = attributes.uid, attributes.gid
        if owners and uid is not None and gid is not None and (uid, gid) != (status.st_uid, status.st_gid):
            os.fchown(file, uid, gid)
        if stat.S_IMODE(status.st_mode) != mode:  # the umask, or a default ACL
            os.fchmod(file, mode)
        os.utime(file, ns=(attributes.atime_ns, attributes.mtime_ns))
    except OSError as error:
        os.unlink(real)
        if error.errno == errno.EFBIG:
            raise Unplaceable(error.errno, error.strerror) from None
        raise
    finally:
        os.close(file)
    return status.st_ino


def dress(real: bytes, attributes: Attributes, *, owners: bool) -> None:
    """Give a node the remote's mode and times, and with `owners` its owner, but to files no set-id bits."""
    if owners and attributes.uid is not None and attributes.gid is not None:
        os.chown(real, attributes.uid, attributes.gid, follow_symlinks=False)
    if not attributes.is_symlink:
        dropped = 0 if attributes.is_directory else SET_ID
        os.chmod(real, stat.S_IMODE(attributes.mode) & ~dropped)
    os.utime(real, ns=(attributes.atime_ns, attributes.mtime_ns), follow_symlinks=False)


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
