"""What the file system of a folder can keep, found out without writing to it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from msgspec.structs import replace

from broker.kernel import native
from broker.remotes.protocol import Capabilities

_CAP_CHOWN = 1 << 0
_PROBE = "user.seccomp-drive"
_FULL = Capabilities(hard_links=True, special_files=True, holes=True)
_FAT = Capabilities(modes=False, symlinks=False, time_resolution_ns=2_000_000_000)
_PROMPT = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"})
_BY_TYPE = {
    "vfat": _FAT,
    "msdos": _FAT,
    "exfat": replace(_FAT, time_resolution_ns=10_000_000),
}
"""File systems that lack something for certain. The others get what Linux offers, and say themselves, call by call,
what they cannot do."""


def capabilities_of(folder: int) -> Capabilities:
    """For the file system that the descriptor `folder` is on; owners only with the right to give files away."""
    known = _BY_TYPE.get(_type_of(folder), _FULL)
    may_chown = bool(native.status(os.getpid()).effective & _CAP_CHOWN)
    return replace(known, owners=known.modes and may_chown, extended_attributes=_has_xattrs(folder))


def answers_at_once(folder: int) -> bool:
    """Whether a look at a name there costs microseconds and cannot hang: a file system of this machine's own disks
    or memory, with no other mounted below."""
    below = os.fsencode(os.readlink(f"/proc/self/fd/{folder}")).rstrip(b"/") + b"/"
    nested = any(point.startswith(below) for _, _, point in _mounts())
    return _type_of(folder) in _PROMPT and not nested


def _type_of(folder: int) -> str:
    """The type as in proc_pid_mountinfo(5), or "" when the mount is not to be seen from here."""
    with open(f"/proc/self/fdinfo/{folder}") as lines:
        mount = next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
    return next((kind for number, kind, _ in _mounts() if number == mount), "")


def _mounts() -> Iterator[tuple[str, str, bytes]]:
    """Number, type and place of each mount that is to be seen from here."""
    with open("/proc/self/mountinfo", errors="surrogateescape") as lines:
        for line in lines:
            fields, _, rest = line.partition(" - ")
            number, _, _, _, point = fields.split()[:5]
            yield number, rest.split()[0], os.fsencode(point)


def _has_xattrs(folder: int) -> bool:
    try:
        os.getxattr(folder, _PROBE)
    except OSError as error:
        return error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS)
    return True
