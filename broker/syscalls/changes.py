"""chmod(2), chown(2), utimensat(2), setxattr(2): calls that change what is known of a file, by path or descriptor."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping

from broker.kernel import native
from broker.syscalls.attributes import AT_SYMLINK_NOFOLLOW, XATTR_SIZE_MAX, Handler, xattr_name
from broker.syscalls.call import Call, Target
from broker.syscalls.reply import Continue, Reply, Return
from broker.table import RANGE_END, RANGE_START


def change_with(*, follow: bool = True, flags: int | None = None, memory: Mapping[int, int] | None = None) -> Handler:
    """A handler for one path: `flags` is the argument with AT_SYMLINK_NOFOLLOW, `memory` are pointers to values
    that the caller passes, with their sizes. An empty path (AT_EMPTY_PATH) and none (futimens(3)) mean dirfd."""

    async def handler(call: Call) -> Reply:
        index = call.row.paths[0][1]
        if not call.unsigned(index) or not call.path():
            return await _change_descriptor(call, call.dirfd(), {}, _buffers(call, memory))
        wanted = follow and not (flags is not None and call.integer(flags) & AT_SYMLINK_NOFOLLOW)
        target = await call.resolve(follow=wanted)
        if target.native:
            return Continue()
        identity, buffers = call.identity(), _buffers(call, memory)

        def act(real: bytes) -> int:
            return call.act({index: real}, buffers=buffers, identity=identity)

        call.protect()
        return Return(act(target.real) if target.mirror is None else await target.mirror.change(target.path, act))

    return handler


async def change_descriptor(call: Call) -> Reply:
    """fchmod(2), fchown(2)."""
    return await _change_descriptor(call, call.integer(0), {}, {})


def setxattr_with(*, follow: bool) -> Handler:
    """setxattr(2), lsetxattr(2)."""

    async def handler(call: Call) -> Reply:
        target = await call.resolve(follow=follow)
        if target.native:
            return Continue()
        name, value, identity = xattr_name(call), _value(call), call.identity()

        def act(real: bytes) -> int:
            return call.act({0: real, 1: name}, buffers={2: bytearray(value)}, identity=identity)

        return Return(await _set_xattr(call, target, name, value, act))

    return handler


def removexattr_with(*, follow: bool) -> Handler:
    """removexattr(2), lremovexattr(2)."""

    async def handler(call: Call) -> Reply:
        target = await call.resolve(follow=follow)
        if target.native:
            return Continue()
        name, identity = xattr_name(call), call.identity()

        def act(real: bytes) -> int:
            return call.act({0: real, 1: name}, identity=identity)

        return Return(await _set_xattr(call, target, name, None, act))

    return handler


async def xattr_of_descriptor(call: Call) -> Reply:
    """fsetxattr(2), fremovexattr(2)."""
    target = call.descriptor_target(call.integer(0))
    if target.mirror is None:
        return Continue()
    name, identity = xattr_name(call), call.identity()
    value = _value(call) if call.row.name == "fsetxattr" else None
    buffers: dict[int, bytes | bytearray] = {} if value is None else {2: bytearray(value)}
    file = native.get_descriptor(call.tracee.tid, call.integer(0))
    try:
        return Return(
            await _set_xattr(
                call,
                target,
                name,
                value,
                lambda real: call.act({1: name}, buffers=buffers, integers={0: file}, identity=identity),
            )
        )
    finally:
        os.close(file)


async def _change_descriptor(
    call: Call, number: int, paths: Mapping[int, bytes], buffers: Mapping[int, bytes | bytearray]
) -> Reply:
    """The same call on a copy of the descriptor, so that the kernel judges the descriptor as well."""
    target = call.descriptor_target(number)
    status = call.tracee.file_status(number) if number >= 0 else None
    if target.mirror is None or status is None or status.st_nlink == 0:
        return Continue()
    identity = call.identity()
    file = native.get_descriptor(call.tracee.tid, number)
    fd_index = call.row.paths[0][0] if call.row.paths else 0
    try:
        call.protect()
        return Return(
            await target.mirror.change(
                target.path,
                lambda real: call.act(
                    {}, buffers={**buffers, **_empty(call)}, integers={fd_index or 0: file}, identity=identity
                ),
                writing=RANGE_START <= number <= RANGE_END,
            )
        )
    finally:
        os.close(file)


def _empty(call: Call) -> dict[int, bytes | bytearray]:
    """The empty path of an AT_EMPTY_PATH call, where there is one."""
    if not call.row.paths or not call.unsigned(call.row.paths[0][1]):
        return {}
    return {call.row.paths[0][1]: b""}


def _buffers(call: Call, memory: Mapping[int, int] | None) -> dict[int, bytes | bytearray]:
    """The values behind the pointers; the 32-bit times of i386 are half as long."""
    short = call.trapped.arch == native.AUDIT_ARCH_I386 and call.row.name != "utimensat_time64"
    sizes = {index: size // 2 if short else size for index, size in (memory or {}).items()}
    return {index: call.memory(index, size) for index, size in sizes.items() if call.unsigned(index)}


async def _set_xattr(
    call: Call, target: Target, name: bytes, value: bytes | None, act: Callable[[bytes], int]
) -> int:
    if not name.startswith(b"user."):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    if target.mirror is None:
        return act(target.real)
    call.protect()
    return await target.mirror.set_xattr(target.path, name, value, act)


def _value(call: Call) -> bytes:
    size = call.unsigned(3)
    if size > XATTR_SIZE_MAX:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    return call.memory(2, size) if size else b""
