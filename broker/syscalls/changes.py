"""chmod(2), chown(2), utimensat(2), setxattr(2): calls that change what is known of a file, by path or descriptor."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping

from broker.kernel import native
from broker.kernel.tracee import AT_FDCWD
from broker.mirror.setid import ByChmod, ByChown, Rule
from broker.syscalls import permission
from broker.syscalls.attributes import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, XATTR_SIZE_MAX, Handler, xattr_name
from broker.syscalls.call import Call, Target
from broker.syscalls.reply import Continue, Reply, Return
from broker.table import RANGE_END, RANGE_START


def chmod_with(*, flags: int | None = None) -> Handler:
    """A handler of the chmod(2) family: `flags` is the argument with AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH."""
    return _change_with(lambda call: ByChmod(), flags=flags)


def chown_with(*, follow: bool = True, flags: int | None = None) -> Handler:
    """A handler of the chown(2) family."""
    return _change_with(lambda call: ByChown(permission.writer(call.caller)), follow=follow, flags=flags)


def utime_with(memory: Mapping[int, int], *, flags: int | None = None) -> Handler:
    """A handler of the utime(2) family; `memory` are the pointers to times, with their sizes."""
    return _change_with(lambda call: None, flags=flags, memory=memory)


def _change_with(
    rule: Callable[[Call], Rule | None],
    *,
    follow: bool = True,
    flags: int | None = None,
    memory: Mapping[int, int] | None = None,
) -> Handler:
    """A handler for one path. An empty one (AT_EMPTY_PATH) and none (futimens(3)) mean the dirfd."""

    async def handler(call: Call) -> Reply:
        index = call.row.paths[0][1]
        if not call.unsigned(index) or not call.path():
            if call.dirfd() != AT_FDCWD:
                return await _change_descriptor(call, call.dirfd(), _buffers(call, memory), rule(call))
            if call.unsigned(index) and flags is not None and call.integer(flags) & AT_EMPTY_PATH:
                return await _change_working_directory(call, _buffers(call, memory), rule(call))
            return Continue()
        wanted = follow and not (flags is not None and call.integer(flags) & AT_SYMLINK_NOFOLLOW)
        target = await call.resolve(follow=wanted)
        if target.native:
            return Continue()
        identity, buffers, owners = call.identity(), _buffers(call, memory), _owners(call)

        def act(real: bytes) -> int:
            return call.act({index: real}, buffers=buffers, integers=owners, identity=identity)

        call.protect()
        if target.mirror is None:
            return Return(act(target.real))
        return Return(await target.mirror.change(target.path, act, rule=rule(call)))

    return handler


async def fchmod(call: Call) -> Reply:
    """fchmod(2)."""
    return await _change_descriptor(call, call.integer(0), {}, ByChmod())


async def fchown(call: Call) -> Reply:
    """fchown(2)."""
    return await _change_descriptor(call, call.integer(0), {}, ByChown(permission.writer(call.caller)))


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
    target = call.open_target(call.integer(0))
    if target is None:
        return Continue()
    name, identity = xattr_name(call), call.identity()
    value = _value(call) if call.row.name == "fsetxattr" else None
    buffers: dict[int, bytes | bytearray] = {} if value is None else {2: bytearray(value)}
    file = call.tracee.reopened(call.integer(0))
    try:
        return Return(
            await _set_xattr(
                call,
                target,
                name,
                value,
                lambda real: call.act({1: name}, buffers=buffers, integers={0: file}, identity=identity),
                file,
            )
        )
    finally:
        os.close(file)


async def _change_descriptor(
    call: Call, number: int, buffers: Mapping[int, bytes | bytearray], rule: Rule | None
) -> Reply:
    """The same call on a copy of the descriptor, so that the kernel judges the descriptor as well."""
    target = call.open_target(number)
    if target is None:
        return Continue()
    file = call.tracee.reopened(number)
    writing = RANGE_START <= number <= RANGE_END
    return await _change_open(call, target, file, buffers, rule, writing=writing)


async def _change_working_directory(call: Call, buffers: Mapping[int, bytes | bytearray], rule: Rule | None) -> Reply:
    target = call.descriptor_target(AT_FDCWD)
    if target.mirror is None or call.tracee.is_removed(AT_FDCWD):
        return Continue()
    file = native.open_proc(call.tracee.tid, b"cwd", os.O_PATH)
    return await _change_open(call, target, file, buffers, rule, writing=False)


async def _change_open(
    call: Call,
    target: Target,
    file: int,
    buffers: Mapping[int, bytes | bytearray],
    rule: Rule | None,
    *,
    writing: bool,
) -> Reply:
    """Make the call on a descriptor of ours, `file`, which is closed."""
    fd_index = (call.row.paths[0][0] or 0) if call.row.paths else 0
    assert target.mirror is not None
    try:
        identity, integers = call.identity(), {**_owners(call), fd_index: file}

        def act(real: bytes) -> int:
            return call.act({}, buffers={**buffers, **_empty(call)}, integers=integers, identity=identity)

        call.protect()
        return Return(await target.mirror.change(target.path, act, file=file, writing=writing, rule=rule))
    finally:
        os.close(file)


def _owners(call: Call) -> dict[int, int]:
    """The owners that a chown(2) of a caller in another user namespace names, as we know them, by argument. EINVAL
    where there are none."""
    maps = call.id_maps() if "chown" in call.row.name else None
    if maps is None:
        return {}
    first = (call.row.paths[0][1] if call.row.paths else 0) + 1
    unchanged = 0xFFFF if call.row.name.endswith("16") else 0xFFFFFFFF
    owners = {}
    for index, ids in ((first, maps.uids), (first + 1, maps.gids)):
        named = call.unsigned(index) & unchanged
        if named != unchanged:
            owner = ids.outside(named)
            if owner is None or owner >= unchanged:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            owners[index] = owner
    return owners


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
    call: Call,
    target: Target,
    name: bytes,
    value: bytes | None,
    act: Callable[[bytes], int],
    file: int | None = None,
) -> int:
    if not name.startswith(b"user."):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    if target.mirror is None:
        return act(target.real)
    call.protect()
    return await target.mirror.set_xattr(target.path, name, value, act, file=file)


def _value(call: Call) -> bytes:
    size = call.unsigned(3)
    if size > XATTR_SIZE_MAX:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    return call.memory(2, size) if size else b""
