"""close(2), dup(2), fcntl(F_DUPFD), fsync(2), getdents64(2): calls on descriptors that lead into a mirror."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from broker.errors import errno_of
from broker.kernel import native
from broker.namespace.mounts import Mounts, Place
from broker.syscalls.call import Call
from broker.syscalls.reply import Continue, InstallFd, Redirect, Reply, Return
from broker.table import RANGE_END

F_DUPFD = fcntl.F_DUPFD
F_DUPFD_CLOEXEC = 1030
_DT_DIR = 4
_IN_DONT_FOLLOW = 0x02000000


async def close(call: Call) -> Reply:
    """close(2) of a ranged descriptor: the content is on the remote when it returns.

    Not if the process has another descriptor of the same file: a shell's redirection closes its first number
    while the file is still empty, and another close will follow. The number is free afterwards whatever happens to
    the push, as close(2) says.
    """
    number = call.integer(0)
    target = call.descriptor_target(number)
    if target.mirror is None:
        return Continue()
    ino = call.tracee.file_status(number).st_ino
    if not call.tracee.has_other_writer(number):
        call.protect()
        try:
            await target.mirror.written(target.path, ino, durable=False)
        except Exception as error:
            return Redirect(-1, call.trapped.number, (number, 0, 0, 0, 0, 0), failure=errno_of(error))
    return Continue()


async def dup(call: Call) -> Reply:
    """dup(2) of a ranged descriptor: the copy is ranged too, so that its close is confirmed as well."""
    return _duplicate(call, cloexec=False, least=0)


async def fcntl_(call: Call) -> Reply:
    """fcntl(2): F_DUPFD and F_DUPFD_CLOEXEC like dup(2)."""
    command = call.integer(1)
    if command not in (F_DUPFD, F_DUPFD_CLOEXEC):
        return Continue()
    return _duplicate(call, cloexec=command == F_DUPFD_CLOEXEC, least=call.integer(2))


async def fsync(call: Call) -> Reply:
    """fsync(2), fdatasync(2): durable on the remote when it returns."""
    number = call.integer(0)
    target = call.descriptor_target(number)
    if target.mirror is None:
        return Continue()
    call.protect()
    await target.mirror.written(target.path, call.tracee.file_status(number).st_ino, durable=True)
    return Continue()


async def syncfs(call: Call) -> Reply:
    """syncfs(2): all of the drive."""
    target = call.descriptor_target(call.integer(0))
    if target.mirror is None:
        return Continue()
    call.protect()
    await target.mirror.sync()
    return Return()


async def getdents64(call: Call) -> Reply:
    """getdents64(2) of a folder above a prefix: the prefix is shown behind the first entries, as a folder.

    The descriptor is of the real folder. Its position says whether this is the first call.
    """
    number = call.integer(0)
    real = call.tracee.descriptor(number)
    missing = hidden_prefixes(call.services.mounts, Place(None, real))
    if not missing or call.row.name != "getdents64":
        return Continue()
    try:
        file = native.get_descriptor(call.tracee.tid, number)
    except native.Unreadable:  # only a copy has the tracee's position
        return Continue()
    try:
        if os.lseek(file, 0, os.SEEK_CUR):
            return Continue()
        extra = b"".join(_dirent(name) for name in missing)
        room = max(min(call.unsigned(2), 1 << 20) - len(extra), 0)
        buffer = bytearray(room)
        size = native.call(native.AUDIT_ARCH_X86_64, 217, (file, buffer, room, 0, 0, 0))
        position = os.lseek(file, 0, os.SEEK_CUR)
    except OSError as error:
        if error.errno == errno.EINVAL:  # there is no room for both an entry and the prefixes
            return Continue()
        raise
    finally:
        os.close(file)
    shown = buffer[:size] + b"".join(_dirent(name, position) for name in missing)
    return Return(len(shown), ((call.unsigned(1), shown),))


async def inotify_add_watch(call: Call) -> Reply:
    """inotify_add_watch(2): the watch is on the mirror's node, added through a copy of the inotify descriptor."""
    target = await call.resolve(follow=not call.unsigned(2) & _IN_DONT_FOLLOW)
    if target.native:
        return Continue()
    if target.mirror is not None and target.is_directory:
        await target.mirror.listing(target.path)
    try:
        file = native.get_descriptor(call.tracee.tid, call.integer(0))
    except native.Unreadable:  # of all errors this one makes programs look by themselves from time to time
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
    try:
        return Return(call.act({1: target.real}, integers={0: file}, identity=call.identity()))
    finally:
        os.close(file)


async def leave(call: Call) -> Reply:
    """A call that the kernel serves: dup2(2) and dup3(2) close what was there, which inotify announces."""
    return Continue()


def _duplicate(call: Call, *, cloexec: bool, least: int) -> Reply:
    number = call.integer(0)
    if call.descriptor_target(number).mirror is None or not 0 <= least <= RANGE_END:
        return Continue()
    try:
        copy = native.get_descriptor(call.tracee.tid, number)
    except native.Unreadable:  # the last close of all is announced by inotify
        return Continue()
    return InstallFd(copy, cloexec, ranged=True, least=least)


def _dirent(name: bytes, position: int = 0) -> bytes:
    """struct linux_dirent64 of getdents64(2), padded to 8 bytes."""
    size = (19 + len(name) + 1 + 7) & ~7
    head = struct.pack("<QqHB", 1, position, size, _DT_DIR)
    return (head + name).ljust(size, b"\0")


def hidden_prefixes(mounts: Mounts, place: Place) -> list[bytes]:
    """The names of the directory prefixes that a listing of the local folder lacks: nothing exists there."""
    return [
        mount.prefix.rpartition(b"/")[2]
        for mount in mounts
        if place.mount is None
        and not mount.is_scheme
        and mount.folder == place.path
        and not os.path.lexists(mount.prefix)
    ]
