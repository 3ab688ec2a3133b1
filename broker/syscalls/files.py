"""open(2) in all its forms, and truncate(2)."""

from __future__ import annotations

import errno
import os
import stat
import struct

from broker.kernel import native
from broker.kernel.tracee import AT_FDCWD
from broker.mirror.opening import is_writing, unlink_untouched
from broker.namespace.resolve import Kind
from broker.syscalls import permission
from broker.syscalls.arguments import verdict
from broker.syscalls.call import Call, Target
from broker.syscalls.descriptors import hidden_prefixes
from broker.syscalls.redirects import redirect_open
from broker.syscalls.reply import Continue, InstallFd, Reply, Return
from broker.syscalls.waiting import open_slowly

_OPENAT, _OPENAT2 = 257, 437
_RESOLVE_NO_SYMLINKS = 4
_DESCRIPTORS = b"/proc/self/fd/"
O_TMPFILE = 0o20000000 | os.O_DIRECTORY
_KNOWN_FLAGS = 0o37777703
"""The open flags of fcntl.h: open(2) and openat(2) ignore others."""
_PAGE = 4096
_OPEN_HOW = struct.Struct("QQQ")


async def open_(call: Call) -> Reply:
    """open(2): flags and mode follow the path."""
    return await _open(call, call.unsigned(1) & _KNOWN_FLAGS, call.unsigned(2))


async def creat(call: Call) -> Reply:
    """creat(2)."""
    return await _open(call, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, call.unsigned(1))


async def openat(call: Call) -> Reply:
    """openat(2)."""
    return await _open(call, call.unsigned(2) & _KNOWN_FLAGS, call.unsigned(3))


async def openat2(call: Call) -> Reply:
    """openat2(2): struct open_how of at least 24 bytes."""
    size = call.unsigned(3)
    if size < _OPEN_HOW.size:
        return Continue()
    if size > _PAGE or any(call.memory(2, size)[_OPEN_HOW.size :]):
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    flags, mode, how = _OPEN_HOW.unpack(call.memory(2, _OPEN_HOW.size))
    if refused := verdict(call):
        return refused
    return await _open(call, flags, mode, how)


async def truncate(call: Call) -> Reply:
    """truncate(2)."""
    target = await call.resolve(follow=True)
    if target.native:
        return Continue()
    if target.mirror is None:
        return Return(call.act({0: target.real}, identity=call.identity()))
    if target.is_directory:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    identity = call.identity()
    call.protect()
    writer = permission.writer(call.caller)
    return Return(
        await target.mirror.truncate(target.path, lambda real: call.act({0: real}, identity=identity), writer)
    )


async def _open(call: Call, flags: int, mode: int, how: int = 0) -> Reply:
    creating = bool(flags & os.O_CREAT) and not flags & os.O_PATH
    exclusive = creating and bool(flags & os.O_EXCL)
    target = await call.resolve(
        follow=not flags & os.O_NOFOLLOW and not exclusive,
        create=creating,
        missing_ok=creating,
        new=exclusive,
        how=how,
    )
    if target.native:
        return _show_prefix(call, target, flags)
    if flags & O_TMPFILE == O_TMPFILE:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    if target.resolved.seen and target.resolved.seen.kind is not Kind.DIRECTORY and flags & os.O_DIRECTORY:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if creating and target.resolved.seen:
        _require_own(call, target)
    call.services.lane.handed_out()
    if flags & os.O_PATH:
        return redirect_open(call, target, flags) or await _open_for_reading(call, target, flags)
    if target.resolved.seen and target.resolved.seen.kind is Kind.SYMLINK:
        raise OSError(errno.EEXIST if exclusive else errno.ELOOP, "")
    return await _install(call, target, flags, mode)


def _require_own(call: Call, target: Target) -> None:
    """EACCES for O_CREAT on what others have put into a sticky folder (fs.protected_regular, fs.protected_fifos)."""
    if target.mirror is None or target.is_directory:
        return
    try:
        folder, file = os.stat(os.path.dirname(target.real)), os.lstat(target.real)
    except FileNotFoundError:  # it was removed meanwhile: then it is made
        return
    if not call.services.protected.may_create_over(call.caller.fsuid, folder, file):
        raise permission.forbidden()


def _show_prefix(call: Call, target: Target, flags: int) -> Reply:
    """A local folder above a prefix gets a ranged descriptor, so that its listing can show the prefix."""
    reading = not flags & (os.O_PATH | os.O_CREAT) and not is_writing(flags)
    if not (reading and target.is_directory and hidden_prefixes(call.services.mounts, target.resolved.place)):
        return Continue()
    call.services.lane.handed_out()
    arguments = (AT_FDCWD, target.real, flags | os.O_CLOEXEC, 0, 0, 0)
    folder = native.call(native.AUDIT_ARCH_X86_64, _OPENAT, arguments, call.identity())
    return InstallFd(folder, bool(flags & os.O_CLOEXEC), ranged=True)


async def _open_for_reading(call: Call, target: Target, flags: int) -> Reply:
    """What stands in for O_PATH, and serves all that a descriptor with it does. EACCES where the open itself would do
    something: of a device, or of a FIFO, whose writers it lets go on."""
    if stat.S_IFMT(os.lstat(target.real).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        raise permission.forbidden()
    return await _install(call, target, flags & (os.O_DIRECTORY | os.O_CLOEXEC) | os.O_NONBLOCK, 0)


async def _install(call: Call, target: Target, flags: int, mode: int) -> Reply:
    identity = call.identity()
    mode = call.umask(mode) if flags & os.O_CREAT else 0

    made = 0  # the inode that the last open has made

    def act(real: bytes, wanted: int) -> int:
        nonlocal made
        file = _open_itself(real, wanted | os.O_CLOEXEC, mode, identity)
        made = os.fstat(file).st_ino if wanted & os.O_CREAT else 0
        return file

    if flags & (os.O_CREAT | os.O_TRUNC) and not call.tracee.has_free_descriptor():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))  # before anything is made or lost
    cloexec = bool(flags & os.O_CLOEXEC)
    if target.mirror is None or (target.resolved.seen and target.resolved.seen.kind is Kind.FIFO):
        return InstallFd(await open_slowly(lambda: act(target.real, flags)), cloexec)
    if target.missing or flags & os.O_TRUNC:
        call.protect()
    mirror = target.mirror
    file = await mirror.open(target.path, flags, act, permission.writer(call.caller), call.began)
    status = os.fstat(file)
    ranged = stat.S_ISREG(status.st_mode) and (
        is_writing(flags) or bool(mirror.shown(target.path, status.st_ino).set_id)
    )
    undo = (lambda: mirror.unlink(target.path, lambda real: unlink_untouched(real, made))) if made else None
    return InstallFd(file, cloexec, ranged, undo=undo)


def _open_itself(real: bytes, flags: int, mode: int, identity: native.Identity | None) -> int:
    """Open `real`, and nothing that a symlink there leads to.

    O_NOFOLLOW would be seen by F_GETFL. What leads through a descriptor, as all of a mirror does, needs none.
    """
    if real.startswith(_DESCRIPTORS):
        number, _, name = real.removeprefix(_DESCRIPTORS).partition(b"/")
        how = _OPEN_HOW.pack(flags, mode if flags & os.O_CREAT else 0, _RESOLVE_NO_SYMLINKS)
        arguments = (int(number), name, how, len(how), 0, 0)
        return native.call(native.AUDIT_ARCH_X86_64, _OPENAT2, arguments, identity)
    return native.call(
        native.AUDIT_ARCH_X86_64, _OPENAT, (AT_FDCWD, real, flags | os.O_NOFOLLOW, mode, 0, 0), identity
    )
