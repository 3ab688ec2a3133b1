"""stat(2), access(2), readlink(2), statfs(2) and their kin: calls that only ask about a path."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Awaitable, Callable

from msgspec import Struct

from broker.kernel import native
from broker.kernel.idmaps import IdMaps
from broker.kernel.tracee import AT_FDCWD
from broker.syscalls.call import Call, Target
from broker.syscalls.reply import Continue, Fail, Reply, Return

AT_SYMLINK_NOFOLLOW = 0x100
AT_EACCESS = 0x200
AT_EMPTY_PATH = 0x1000
_FACCESSAT2 = 439
XATTR_NAME_MAX = 255
XATTR_SIZE_MAX = 65536

Handler = Callable[[Call], Awaitable[Reply]]


class Layout(Struct, frozen=True):
    """Where a stat structure of the kernel keeps what a placeholder has wrong, and owners: (offset, struct code)."""

    size: int
    ino: tuple[int, str]
    mode: tuple[int, str]
    nlink: tuple[int, str]
    blocks: tuple[int, str]
    owner: tuple[int, str]
    """Of the user's id, behind which the group's is."""


STAT_X86_64 = Layout(144, ino=(8, "Q"), mode=(24, "I"), nlink=(16, "Q"), blocks=(64, "q"), owner=(28, "II"))
STATX = Layout(256, ino=(32, "Q"), mode=(28, "H"), nlink=(16, "I"), blocks=(48, "Q"), owner=(20, "II"))
STAT_I386 = Layout(64, ino=(4, "I"), mode=(8, "H"), nlink=(10, "H"), blocks=(28, "I"), owner=(12, "HH"))
STAT64_I386 = Layout(96, ino=(88, "Q"), mode=(16, "I"), nlink=(20, "I"), blocks=(56, "Q"), owner=(24, "II"))
OVERFLOW_ID = 65534
"""What the kernel shows for an id that has no name where it is looked at (overflowuid), or none of 16 bits."""


def stat_with(output: int, layout: Layout, *, follow: bool = True, flags: int | None = None) -> Handler:
    """A handler of the stat(2) family: the structure goes to argument `output`; `flags` holds AT_SYMLINK_NOFOLLOW."""

    async def handler(call: Call) -> Reply:
        wanted = follow and not (flags is not None and call.integer(flags) & AT_SYMLINK_NOFOLLOW)
        shape = _shape(call, layout)
        index = call.row.paths[0][1]
        if not call.unsigned(index):  # with AT_EMPTY_PATH as good as an empty path since Linux 6.11
            return _stat_descriptor(call, call.dirfd(), {}, output, shape)
        if not call.path():
            return _stat_descriptor(call, call.dirfd(), {index: b""}, output, shape)
        target = await call.resolve(follow=wanted)
        if target.native:
            return Continue()
        buffer = bytearray(shape.size)
        # The way to a drive's root is one through it, where nothing is asked of who looks at the root of a mount.
        identity = None if target.is_drive_root else call.identity()
        value = call.act(_paths(call, target), buffers={output: buffer}, identity=identity)
        if target.mirror is not None:
            _complete(buffer, shape, target)
        _translate(buffer, shape, call.id_maps())
        return Return(value, ((call.unsigned(output), buffer),))

    return handler


def stat_descriptor_with(layout: Layout) -> Handler:
    """A handler of fstat(2)."""

    async def handler(call: Call) -> Reply:
        return _stat_descriptor(call, call.integer(0), {}, 1, _shape(call, layout))

    return handler


async def access(call: Call) -> Reply:
    """access(2), faccessat(2), faccessat2(2): judged by the caller's real ids unless AT_EACCESS is given.

    The replay always has AT_EACCESS, under an identity made of the ids that count: without it the kernel would
    judge by the broker's own real ids.
    """
    mode_index = call.row.paths[0][1] + 1
    flags = call.integer(3) if call.row.name == "faccessat2" else 0
    if not call.path():
        return Continue()
    if not flags & AT_EACCESS:
        call.act_as(call.services.credentials.real_of(call.tracee))
    target = await call.resolve(follow=not flags & AT_SYMLINK_NOFOLLOW)
    if target.native:
        return Continue()
    if target.mirror is not None and call.integer(mode_index) & os.W_OK:
        target.mirror.require_writable()
    arguments = (AT_FDCWD, target.real, call.integer(mode_index), flags | AT_EACCESS, 0, 0)
    return Return(native.call(native.AUDIT_ARCH_X86_64, _FACCESSAT2, arguments, call.identity()))


async def readlink(call: Call) -> Reply:
    """readlink(2), readlinkat(2); links of /proc that lead into a mirror show the path on the drive."""
    output = call.row.paths[0][1] + 1
    room = call.integer(output + 1)
    if room <= 0:
        return Fail(errno.EINVAL)
    path = call.path()
    if path == b"/.seccomp-drive-exec":
        script = call.services.scripts.pop(call.tracee.status.tgid, None)
        return Fail(errno.ENOENT) if script is None else Return(len(script), ((call.unsigned(output), script),))
    if not path:
        return Continue()
    target = await call.resolve(follow=False)
    if target.mirror is None:
        seen = target.resolved.seen
        if seen is not None and seen.target is not None:
            place = call.services.mounts.place_of(seen.target)
            if place.mount is not None:
                text = place.virtual[:room]
                return Return(len(text), ((call.unsigned(output), text),))
        if target.native:
            return Continue()
    buffer = bytearray(min(room, 4096))
    size = call.act(
        _paths(call, target), buffers={output: buffer}, integers={output + 1: len(buffer)}, identity=call.identity()
    )
    return Return(size, ((call.unsigned(output), buffer[:size]),))


def statfs_with(output: int, size: int, size_i386: int) -> Handler:
    """A handler of statfs(2): the cache's file system, which is what writes are limited by."""

    async def handler(call: Call) -> Reply:
        target = await call.resolve(follow=True)
        if target.native:
            return Continue()
        buffer = bytearray(size_i386 if call.trapped.arch == native.AUDIT_ARCH_I386 else size)
        value = call.act(_paths(call, target), buffers={output: buffer}, identity=call.identity())
        return Return(value, ((call.unsigned(output), buffer),))

    return handler


def getxattr_with(*, follow: bool) -> Handler:
    """getxattr(2), lgetxattr(2): only the ``user.`` names are kept, as on a file system without ACLs or labels."""

    async def handler(call: Call) -> Reply:
        target = await call.resolve(follow=follow)
        if target.native:
            return Continue()
        name = xattr_name(call)
        await _load(target, name)
        room = min(call.unsigned(3), XATTR_SIZE_MAX)
        buffer = bytearray(room)
        size = call.act({0: target.real}, buffers={1: name, 2: buffer}, integers={3: room}, identity=call.identity())
        return Return(size, ((call.unsigned(2), buffer[:size]),) if room else ())

    return handler


def listxattr_with(*, follow: bool) -> Handler:
    """listxattr(2), llistxattr(2)."""

    async def handler(call: Call) -> Reply:
        target = await call.resolve(follow=follow)
        if target.native:
            return Continue()
        await _load(target, b"user.")
        room = min(call.unsigned(2), XATTR_SIZE_MAX)
        buffer = bytearray(room)
        size = call.act({0: target.real}, buffers={1: buffer}, integers={2: room}, identity=call.identity())
        return Return(size, ((call.unsigned(1), buffer[:size]),) if room else ())

    return handler


async def load_descriptor_xattrs(call: Call) -> Reply:
    """fgetxattr(2), flistxattr(2): the kernel answers once the attributes are in the mirror."""
    number = call.integer(0)
    target = call.open_target(number)
    if target is not None:
        file = call.tracee.reopened(number)
        try:
            await _load(target, xattr_name(call) if call.row.name == "fgetxattr" else b"user.", file)
        finally:
            os.close(file)
    return Continue()


async def unsupported(call: Call) -> Reply:
    """A call that a drive does not serve: EOPNOTSUPP there, the kernel's own answer elsewhere.

    What does not exist on the drive is the kernel's too: the source of a mount(2) may be any word.
    """
    for which in range(len(call.row.paths)):
        if not call.path(which):
            target = call.descriptor_target(call.dirfd(which))
        else:
            target = await call.resolve(which, follow=True, missing_ok=True)
        if not target.native and not target.missing:
            return Fail(errno.EOPNOTSUPP)
    return Continue()


async def socket_address(call: Call) -> Reply:
    """bind(2), connect(2) to a path on a drive: a connect by the broker would falsify SO_PEERCRED."""
    text = call.trapped.paths[0] if call.trapped.paths else None
    if not text:
        return Continue()
    target = await call.resolve(follow=True, missing_ok=True, text=text)
    return Continue() if target.native else Fail(errno.EOPNOTSUPP)


def xattr_name(call: Call) -> bytes:
    """The name of an extended attribute: ERANGE where its length is none (import_xattr_name in fs/xattr.c)."""
    try:
        name = call.string(1, XATTR_NAME_MAX + 1)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        name = b""
    if not name:
        raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
    return name


async def _load(target: Target, name: bytes, file: int | None = None) -> None:
    if not name.startswith(b"user."):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    if target.mirror is not None:
        await target.mirror.load_xattrs(target.path, file=file)


def _paths(call: Call, target: Target) -> dict[int, bytes]:
    return {call.row.paths[0][1]: target.real}


def _shape(call: Call, layout: Layout) -> Layout:
    return STAT_I386 if layout is STAT_X86_64 and call.trapped.arch == native.AUDIT_ARCH_I386 else layout


def _stat_descriptor(call: Call, number: int, paths: dict[int, bytes], output: int, shape: Layout) -> Reply:
    """Stat of an open file: the kernel's, unless the remote keeps set-id bits of it that the mirror must not have."""
    if number < 0:
        return Continue()
    target = call.descriptor_target(number)
    if target.mirror is None or not target.mirror.shown(target.path, call.tracee.file_status(number).st_ino).set_id:
        return Continue()
    file = call.tracee.reopened(number)
    try:
        buffer = bytearray(shape.size)
        value = call.act(paths, buffers={output: buffer}, integers={0: file})
    finally:
        os.close(file)
    _complete(buffer, shape, target)
    _translate(buffer, shape, call.id_maps())
    return Return(value, ((call.unsigned(output), buffer),))


def _complete(buffer: bytearray, layout: Layout, target: Target) -> None:
    """Links and blocks of a placeholder as the remote has them, so that `find` and `du` see the whole."""
    assert target.mirror is not None
    shown = target.mirror.shown(target.path, _field(buffer, layout.ino))
    if shown.nlink is not None:
        _set_field(buffer, layout.nlink, shown.nlink)
    if shown.blocks is not None:
        _set_field(buffer, layout.blocks, shown.blocks)
    if shown.set_id:
        _set_field(buffer, layout.mode, _field(buffer, layout.mode) | shown.set_id)


def _translate(buffer: bytearray, layout: Layout, maps: IdMaps | None) -> None:
    """Owners as the caller knows them."""
    if maps is None:
        return
    offset, code = layout.owner
    uid, gid = struct.unpack_from("<" + code, buffer, offset)
    shown = [OVERFLOW_ID if id is None else id for id in (maps.uids.inside(uid), maps.gids.inside(gid))]
    most = 0xFFFF if code == "HH" else 0xFFFFFFFF
    struct.pack_into("<" + code, buffer, offset, *(id if id <= most else OVERFLOW_ID for id in shown))


def _field(buffer: bytearray, field: tuple[int, str]) -> int:
    value: int = struct.unpack_from("<" + field[1], buffer, field[0])[0]
    return value


def _set_field(buffer: bytearray, field: tuple[int, str], value: int) -> None:
    try:
        struct.pack_into("<" + field[1], buffer, field[0], value)
    except struct.error:
        raise OSError(errno.EOVERFLOW, os.strerror(errno.EOVERFLOW)) from None
