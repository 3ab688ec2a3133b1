"""mkdir(2), unlink(2), rename(2), link(2), symlink(2), mknod(2): calls that change the names in a folder."""

from __future__ import annotations

import errno
import os

from broker.mirror.mirror import Mirror
from broker.syscalls import permission
from broker.syscalls.call import Call, Target
from broker.syscalls.reply import Continue, Reply, Return

AT_REMOVEDIR = 0x200
AT_SYMLINK_FOLLOW = 0x400
AT_EMPTY_PATH = 0x1000
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4


async def mkdir(call: Call) -> Reply:
    """mkdir(2), mkdirat(2)."""
    target = await call.resolve(follow=False, by_name=True, missing_ok=True)
    if target.native:
        return Continue()
    path, identity = call.row.paths[0][1], call.identity()
    mode = call.umask(call.unsigned(path + 1))

    def act(real: bytes) -> int:
        return call.act({path: real}, integers={path + 1: mode}, identity=identity)

    mirror = _new(call, target)
    return Return(act(target.real) if mirror is None else await mirror.mkdir(target.path, act))


async def mknod(call: Call) -> Reply:
    """mknod(2), mknodat(2)."""
    target = await call.resolve(follow=False, by_name=True, missing_ok=True)
    if target.native:
        return Continue()
    path, identity = call.row.paths[0][1], call.identity()
    kind = call.unsigned(path + 1)
    mode = kind & 0o170000 | call.umask(kind)

    def act(real: bytes) -> int:
        return call.act({path: real}, integers={path + 1: mode}, identity=identity)

    mirror = _new(call, target)
    if target.resolved.trailing:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return Return(act(target.real) if mirror is None else await mirror.mknod(target.path, act))


async def symlink(call: Call) -> Reply:
    """symlink(2), symlinkat(2): the text is kept as it is; what it means is decided when it is followed."""
    target = await call.resolve(follow=False, by_name=True, missing_ok=True)
    if target.native:
        return Continue()
    path, identity = call.row.paths[0][1], call.identity()
    text = call.string(0)
    if not text:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def act(real: bytes) -> int:
        return call.act({0: text, path: real}, identity=identity)

    mirror = _new(call, target)
    if target.resolved.trailing:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if mirror is None:
        call.services.lane.forget_links()
    return Return(act(target.real) if mirror is None else await mirror.symlink(target.path, text, act))


async def unlink(call: Call) -> Reply:
    """unlink(2), unlinkat(2) without AT_REMOVEDIR."""
    if call.row.name == "unlinkat" and call.integer(2) & AT_REMOVEDIR:
        return await rmdir(call)
    target = await call.resolve(follow=False, by_name=True, missing_ok=True)
    if target.native:
        return Continue()
    path, identity = call.row.paths[0][1], call.identity()
    if not target.resolved.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    _require_name(target)
    if target.resolved.trailing and not target.is_directory:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def act(real: bytes) -> int:
        return call.act({path: real}, identity=identity)

    call.protect()
    return Return(act(target.real) if target.mirror is None else await target.mirror.unlink(target.path, act))


async def rmdir(call: Call) -> Reply:
    """rmdir(2), unlinkat(2) with AT_REMOVEDIR."""
    target = await call.resolve(follow=False, by_name=True, missing_ok=True)
    if target.native:
        return Continue()
    path, identity = call.row.paths[0][1], call.identity()
    if not target.resolved.name:
        raise OSError(_unnamed(call), "")
    _require_name(target)

    def act(real: bytes) -> int:
        return call.act({path: real}, identity=identity)

    call.protect()
    return Return(act(target.real) if target.mirror is None else await target.mirror.rmdir(target.path, act))


async def rename(call: Call) -> Reply:
    """rename(2), renameat(2), renameat2(2): EXDEV across the border of a drive, so that `mv` copies."""
    flags = call.unsigned(4) & 0xFFFFFFFF if call.row.name == "renameat2" else 0
    call.path(0), call.path(1)  # EFAULT before all else
    old = await call.resolve(0, follow=False, by_name=True, missing_ok=True)
    new = await call.resolve(1, follow=False, by_name=True, missing_ok=True)
    if old.native and new.native:
        return Continue()
    _check_rename(old, new, flags)
    first, second, identity = call.row.paths[0][1], call.row.paths[1][1], call.identity()

    def act(real_old: bytes, real_new: bytes) -> int:
        return call.act({first: real_old, second: real_new}, identity=identity)

    call.protect()
    if old.mirror is None:
        return Return(act(old.real, new.real))
    exchange = bool(flags & RENAME_EXCHANGE)
    replace = not flags & RENAME_NOREPLACE
    return Return(await old.mirror.rename(old.path, new.path, act, replace=replace, exchange=exchange))


async def link(call: Call) -> Reply:
    """link(2), linkat(2)."""
    flags = call.integer(4) if call.row.name == "linkat" else 0
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if not call.path(0):
        if not flags & AT_EMPTY_PATH:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        old = call.descriptor_target(call.dirfd(0))
    else:
        old = await call.resolve(0, follow=bool(flags & AT_SYMLINK_FOLLOW))
    new = await call.resolve(1, follow=False, by_name=True, missing_ok=True)
    if old.native and new.native:
        return Continue()
    if not new.missing:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    if new.resolved.trailing:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if old.mirror is not new.mirror:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    first, second, identity = call.row.paths[0][1], call.row.paths[1][1], call.identity()

    def act(real_old: bytes, real_new: bytes) -> int:
        return call.act({first: real_old, second: real_new}, integers=plain, identity=identity)

    if old.mirror is not None and old.mirror is new.mirror:
        status = os.lstat(old.real)
        if not call.path(0) and not os.path.samestat(status, call.tracee.file_status(call.dirfd(0))):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))  # it has lost its name
        mode = status.st_mode | old.mirror.shown(old.path, status.st_ino).set_id
        if not call.services.protected.may_link(permission.writer(call.caller), status.st_uid, mode):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    plain = {4: 0} if call.row.name == "linkat" else {}
    call.protect()
    if old.mirror is None:
        return Return(act(old.real, new.real))
    return Return(await old.mirror.link(old.path, new.path, act))


def _new(call: Call, target: Target) -> Mirror | None:
    """The mirror in which a new name is to be made; EEXIST comes before a read-only drive's EROFS."""
    if not target.missing:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    call.protect()
    return target.mirror


def _unnamed(call: Call) -> int:
    """rmdir(2) on ``.``, on ``..`` and on the root of a drive."""
    path = call.path().rstrip(b"/")
    if path == b"." or path.endswith(b"/."):
        return errno.EINVAL
    return errno.ENOTEMPTY if path.endswith(b"..") else errno.EBUSY


def _require_name(target: Target) -> None:
    """EROFS comes before ENOENT where a name is to go (mnt_want_write in fs/namei.c)."""
    if target.mirror is not None:
        target.mirror.require_writable()
    if target.missing:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _check_rename(old: Target, new: Target, flags: int) -> None:
    if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) or flags & RENAME_WHITEOUT:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if flags & RENAME_NOREPLACE and flags & RENAME_EXCHANGE:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if old.mirror is not new.mirror:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    if not old.resolved.name:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    if not new.resolved.name:
        raise OSError(errno.EEXIST if flags & RENAME_NOREPLACE else errno.EBUSY, "")
    _require_name(old)
    if flags & RENAME_NOREPLACE and not new.missing:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    if flags & RENAME_EXCHANGE and new.missing:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    becomes = new if flags & RENAME_EXCHANGE else old
    if (old.resolved.trailing and not old.is_directory) or (new.resolved.trailing and not becomes.is_directory):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
