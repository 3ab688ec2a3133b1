"""One node of a directory tree behind an O_PATH descriptor: its attributes, and changes to them.

Everything goes through ``/proc/self/fd/N``, which leads to the node itself, whatever its name is by now.
"""

from __future__ import annotations

import errno
import os
import re
import stat

from broker.remotes.protocol import Attributes, Changes, Version

TEMPORARY = re.compile(rb"\.seccomp-drive-[0-9a-f]{16}")
"""The names of unfinished writes. They are ours: never listed, found or made by anybody else."""

_MODE_BITS = 0o7777


def temporary_name() -> bytes:
    """A name that nothing has."""
    return b".seccomp-drive-" + os.urandom(8).hex().encode()


def version_of(status: os.stat_result) -> Version:
    """Changes with the content, the attributes and the number of names; so far as the clock of ctime ticks."""
    return Version(f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}")


def attributes_of(status: os.stat_result, target: bytes | None = None) -> Attributes:
    """`status` in the words of the protocol; `target` is the text of a symlink."""
    several = status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)
    return Attributes(
        version=version_of(status),
        mode=status.st_mode,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        atime_ns=status.st_atime_ns,
        nlink=status.st_nlink,
        uid=status.st_uid,
        gid=status.st_gid,
        blocks=status.st_blocks,
        rdev=status.st_rdev,
        target=target,
        identity=f"{status.st_dev}:{status.st_ino}" if several else None,
    )


def describe(node: int) -> Attributes:
    """What is behind the descriptor `node`, which may be an O_PATH one of a symlink."""
    status = os.fstat(node)
    # readlinkat(2): an empty path means the symlink that the descriptor itself refers to.
    target = os.readlink(b"", dir_fd=node) if stat.S_ISLNK(status.st_mode) else None
    return attributes_of(status, target)


def way_to(node: int) -> str:
    """A path that leads to what the descriptor `node` refers to."""
    return f"/proc/self/fd/{node}"


def change(node: int, changes: Changes) -> None:
    """Apply `changes`: the owner first, because chown(2) clears the set-id bits, and the times last."""
    way = way_to(node)
    if changes.uid is not None or changes.gid is not None:
        os.chown(way, -1 if changes.uid is None else changes.uid, -1 if changes.gid is None else changes.gid)
    if changes.mode is not None:
        if stat.S_ISLNK(os.fstat(node).st_mode):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        os.chmod(way, changes.mode & _MODE_BITS)
    if changes.mtime_ns is not None or changes.atime_ns is not None:
        status = os.fstat(node)
        accessed = status.st_atime_ns if changes.atime_ns is None else changes.atime_ns
        modified = status.st_mtime_ns if changes.mtime_ns is None else changes.mtime_ns
        os.utime(way, ns=(accessed, modified))


def get_xattrs(node: int) -> dict[bytes, bytes]:
    """The attributes in the ``user.`` namespace, which only files and folders have (xattr(7))."""
    if stat.S_ISLNK(os.fstat(node).st_mode):
        return {}
    found = {}
    for name in map(os.fsencode, os.listxattr(way_to(node))):
        if name.startswith(b"user."):
            try:
                found[name] = os.getxattr(way_to(node), name)
            except OSError as error:
                if error.errno != errno.ENODATA:
                    raise
    return found


def set_xattr(node: int, name: bytes, value: bytes | None) -> None:
    """Set one attribute, or remove it when `value` is None."""
    if not name.startswith(b"user."):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    if stat.S_ISLNK(os.fstat(node).st_mode):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    try:
        if value is None:
            os.removexattr(way_to(node), name)
        else:
            os.setxattr(way_to(node), name, value)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
