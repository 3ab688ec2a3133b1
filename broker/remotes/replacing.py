"""Replaces the content of a file on condition that it is still at a given version, durably and as a whole."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from msgspec import Struct
from msgspec.structs import replace

from broker.remotes import protocol
from broker.remotes.copying import CHUNK, copy
from broker.remotes.nodes import attributes_of, change, temporary_name, version_of, way_to
from broker.remotes.paths import Path
from broker.remotes.protocol import Attributes, Changes, Step, Version
from broker.remotes.renaming import move_to_free_name

_NEW_MODE = 0o600
_LOCK_ATTEMPTS, _LOCK_PAUSE = 50, 0.002
"""How often a lock is tried for, and the seconds in between."""
_KEPT = ("user.", "system.posix_acl_access")
_NO_FSYNC = {errno.EINVAL, errno.EACCES, errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP}


class Target(Struct, frozen=True):
    """A name in the folder behind the O_PATH descriptor `folder`, and the version it must be at to be replaced."""

    path: Path
    folder: int
    name: bytes
    base: Version | None

    def check(self) -> os.stat_result | None:
        """What is there now: None for a name that is free, as it must be when `base` is None."""
        try:
            status = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            if self.base is None:
                return None
            raise protocol.VersionChanged(self.path, "it is gone") from None
        if self.base is None:
            raise protocol.AlreadyExists(self.path)
        if version_of(status) != self.base:
            raise protocol.VersionChanged(self.path)
        if stat.S_ISDIR(status.st_mode):
            raise protocol.IsADirectory(self.path)
        if not stat.S_ISREG(status.st_mode):
            raise protocol.Unsupported(self.path, "only regular files have content")
        return status


class Replacer:
    """Writes files. Of the writers that share one, and of the brokers on one machine, no two are between the last
    look and the rename at once; other machines, and programs that know nothing of us, can be, for the length of these
    two calls."""

    def __init__(self) -> None:
        self._last_step = threading.Lock()
        self._overwriting = threading.Lock()

    def write(
        self, target: Target, source: int, changes: Changes, durable: bool, step: Step, *, patient: bool = True
    ) -> Attributes:
        """Give `target` the content of `source`, and `changes`.

        Who is not `patient` gets BlockingIOError where somebody else is at it, and nothing has happened.
        """
        old = target.check()
        if old is not None and old.st_nlink > 1:
            return self._overwrite(target, source, changes, durable, step, patient)
        with ExitStack() as stack:
            with _held(self._last_step, patient), _keeping_times(target.folder):
                made = stack.enter_context(_temporary(target.folder, old))
            if made is None:
                return self._overwrite(target, source, changes, durable, step, patient)
            name, node = made
            copy(source, node, _arriving(node, durable, step))
            if old is not None:
                _keep_xattrs(target, node)
            change(node, _complete(changes, old, os.fstat(node)))
            _flush(node, durable)
            with _held(self._last_step, patient), _alone(target, patient):
                target.check()
                if target.base is None:
                    move_to_free_name(target.folder, name, target.folder, target.name)
                else:
                    with _keeping_times(target.folder):
                        os.rename(name, target.name, src_dir_fd=target.folder, dst_dir_fd=target.folder)
            if durable:
                sync_folder(target.folder)
            return attributes_of(os.fstat(node))

    def _overwrite(
        self, target: Target, source: int, changes: Changes, durable: bool, step: Step, patient: bool
    ) -> Attributes:
        """Write into the file itself: its other names, or its owner, would be lost with a new one."""
        node = os.open(target.name, os.O_PATH | os.O_NOFOLLOW, dir_fd=target.folder)
        try:
            with _held(self._overwriting, patient), _alone(target, patient):
                if version_of(os.fstat(node)) != target.base:
                    raise protocol.VersionChanged(target.path)
                content = os.open(way_to(node), os.O_WRONLY | os.O_NONBLOCK)
                try:
                    os.ftruncate(content, 0)
                    copy(source, content, _arriving(content, durable, step))
                    _change_what_differs(content, changes)
                    _flush(content, durable)
                finally:
                    os.close(content)
            return attributes_of(os.fstat(node))
        finally:
            os.close(node)


@contextmanager
def _held(lock: threading.Lock, patient: bool) -> Iterator[None]:
    if not lock.acquire(blocking=patient):
        raise _busy()
    try:
        yield
    finally:
        lock.release()


def _busy() -> BlockingIOError:
    return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


@contextmanager
def _alone(target: Target, patient: bool) -> Iterator[None]:
    """Keep other brokers from replacing the same version of a file: each locks what it is about to replace.

    Whoever else holds a flock(2) on it is waited for a moment, since brokers need no longer. Where the file cannot be
    opened or locked, nobody is kept out.
    """
    with ExitStack() as stack:
        locked = True
        if target.base is not None:
            with suppress(OSError):
                node = os.open(target.name, os.O_PATH | os.O_NOFOLLOW, dir_fd=target.folder)
                stack.callback(os.close, node)
                if stat.S_ISREG(os.fstat(node).st_mode):
                    file = os.open(way_to(node), os.O_RDONLY | os.O_NONBLOCK)
                    stack.callback(os.close, file)
                    locked = _lock(file, _LOCK_ATTEMPTS if patient else 1)
        if not locked and not patient:
            raise _busy()
        yield


def _lock(file: int, attempts: int) -> bool:
    """Whether it was free at one of the attempts."""
    for attempt in range(attempts):
        if attempt:
            time.sleep(_LOCK_PAUSE)
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


@contextmanager
def _keeping_times(folder: int) -> Iterator[None]:
    """Writing to a file that exists does not change its folder's times; a temporary name and a rename do.

    They are put back after each, so that what others change in between keeps its time.
    """
    before = os.stat(way_to(folder))
    yield
    with suppress(PermissionError):
        os.utime(way_to(folder), ns=(before.st_atime_ns, before.st_mtime_ns))


@contextmanager
def _temporary(folder: int, old: os.stat_result | None) -> Iterator[tuple[bytes, int] | None]:
    """A new file in `folder`, with the owner of `old`: its name and a descriptor. What is left under that name at
    the end is removed. None when there can be no such file, because of the rights of the folder or the owner."""
    name = temporary_name()
    try:
        node = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _NEW_MODE, dir_fd=folder)
    except PermissionError:
        if old is None:
            raise
        yield None
        return
    try:
        if old is None or _take_owner(node, old):
            yield name, node
        else:
            os.unlink(name, dir_fd=folder)
            yield None
    except BaseException:
        with suppress(OSError), _keeping_times(folder):
            os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(node)


def _take_owner(node: int, old: os.stat_result) -> bool:
    """Give the file `node` the ids of `old`, if we may: root may, unless the server squashes it."""
    new = os.fstat(node)
    if (new.st_uid, new.st_gid) == (old.st_uid, old.st_gid):
        return True
    try:
        os.chown(node, old.st_uid, old.st_gid)
    except PermissionError:
        return False
    return True


def _complete(changes: Changes, old: os.stat_result | None, new: os.stat_result) -> Changes:
    """`changes` with the mode of `old` if they leave it open, and without the ids that `new` has already: setting
    these takes a privilege."""
    if old is not None and changes.mode is None:
        changes = replace(changes, mode=stat.S_IMODE(old.st_mode))
    return replace(
        changes,
        uid=None if changes.uid == new.st_uid else changes.uid,
        gid=None if changes.gid == new.st_gid else changes.gid,
    )


def _change_what_differs(node: int, changes: Changes) -> None:
    """Apply `changes` to a file that may be another user's, who lets us write it but not set its times."""
    now = os.fstat(node)
    mode = None if changes.mode == stat.S_IMODE(now.st_mode) else changes.mode
    change(node, replace(_complete(changes, None, now), mode=mode, mtime_ns=None, atime_ns=None))
    with suppress(PermissionError):
        change(node, Changes(mtime_ns=changes.mtime_ns, atime_ns=changes.atime_ns))


def _keep_xattrs(target: Target, new: int) -> None:
    """Copy the user's extended attributes and the access list of the old file to `new`."""
    old = os.open(target.name, os.O_PATH | os.O_NOFOLLOW, dir_fd=target.folder)
    try:
        for name in os.listxattr(way_to(old)):
            if name.startswith(_KEPT):
                os.setxattr(new, name, os.getxattr(way_to(old), name))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENODATA):
            raise
    finally:
        os.close(old)


def _arriving(node: int, durable: bool, step: Step) -> Step:
    """Count what the file system has taken for good, so that no last flush is a long wait without a sign of life."""

    def arrived(count: int) -> None:
        if count == CHUNK:
            _flush(node, durable)
        step(count)

    return arrived


def _flush(node: int, durable: bool) -> None:
    """Hear of errors before the content takes its name: NFS tells of a full disk only when it flushes, which it
    does at fsync(2) and at every close(2) of a descriptor."""
    if durable:
        os.fsync(node)
    else:
        os.close(os.dup(node))


def sync_folder(folder: int, name: bytes = b".") -> None:
    """Make the names in a folder durable, where it can be read and its file system knows how."""
    try:
        readable = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except PermissionError:
        return
    try:
        os.fsync(readable)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise
    finally:
        os.close(readable)
