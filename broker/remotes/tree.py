"""The operations of a remote on a folder of this machine, as blocking calls that never leave it.

Every path is opened with openat2(2) beneath the root and through no symlink; what follows works on the descriptor, or
on one name in it. The calls raise OSError and `RemoteError`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from broker.kernel import native
from broker.linux import syncfs
from broker.remotes import entries, protocol
from broker.remotes.listing import Listing
from broker.remotes.nodes import (
    TEMPORARY,
    change,
    describe,
    get_xattrs,
    set_xattr,
    version_of,
    way_to,
)
from broker.remotes.paths import Path, base_of, parent_of, valid_target
from broker.remotes.protocol import Attributes, Changes, Space, Step, Version
from broker.remotes.renaming import exchange, move_to_free_name
from broker.remotes.replacing import Replacer, Target, sync_folder
from broker.remotes.roots import Root

_SPECIAL = {stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK}
_NODE = os.O_PATH | os.O_NOFOLLOW
_FACCESSAT2, _AT_FDCWD, _AT_EACCESS = 439, -100, 0x200
_FOLDER = os.O_PATH | os.O_DIRECTORY


class Tree:
    """What is below `root`, without what is ours: unfinished writes, and what is at the `hidden` paths."""

    def __init__(self, root: Root, hidden: Collection[Path] = ()) -> None:
        self._root = root
        self._hidden = hidden
        self._replacer = Replacer()

    def stat(self, path: Path) -> Attributes:
        node = self._open(path, _NODE)
        try:
            return describe(node)
        finally:
            os.close(node)

    def listing(self, path: Path) -> Listing:
        hidden = {base_of(place) for place in self._hidden if parent_of(place) == path}
        return Listing(lambda: self._open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW), hidden)

    def read(self, path: Path, version: Version, offset: int, length: int) -> bytes:
        """As `Remote.read`. Looked at before it is opened: to open a device may already do something."""
        try:
            with self._node(path) as node:
                status = os.fstat(node)
                _same(path, status, version)
                if not stat.S_ISREG(status.st_mode):
                    raise _wrong_kind(path, status)
                content = os.open(way_to(node), os.O_RDONLY | os.O_NONBLOCK)
                try:
                    data = os.pread(content, length, offset)
                    _same(path, os.fstat(content), version)
                finally:
                    os.close(content)
                return data
        except (FileNotFoundError, NotADirectoryError):
            raise protocol.VersionChanged(path, "it is gone") from None

    def write(
        self,
        path: Path,
        source: int,
        base: Version | None,
        changes: Changes,
        durable: bool,
        step: Step,
        *,
        patient: bool = True,
    ) -> Attributes:
        """`patient` as for `Replacer.write`."""
        try:
            with self._folder(path) as (folder, name):
                target = Target(path, folder, name, base)
                return self._replacer.write(target, source, changes, durable, step, patient=patient)
        except (FileNotFoundError, NotADirectoryError):
            if base is None:
                raise
            raise protocol.VersionChanged(path, "it is gone") from None

    def mkdir(self, path: Path, changes: Changes) -> Attributes:
        with self._folder(path) as (folder, name):
            os.mkdir(name, 0o700, dir_fd=folder)
            return entries.finish(folder, name, changes, os.rmdir)

    def symlink(self, path: Path, target: bytes, changes: Changes) -> Attributes:
        if not valid_target(target):
            raise protocol.Invalid(path, "no symlink can have this text")
        with self._folder(path) as (folder, name):
            os.symlink(target, name, dir_fd=folder)
            owner_and_times = Changes(None, changes.uid, changes.gid, changes.mtime_ns, changes.atime_ns)
            return entries.finish(folder, name, owner_and_times, os.unlink)

    def mknod(self, path: Path, mode: int, rdev: int, changes: Changes) -> Attributes:
        if stat.S_IFMT(mode) not in _SPECIAL:
            raise protocol.Invalid(path, "neither a FIFO nor a device")
        with self._folder(path) as (folder, name):
            os.mknod(name, stat.S_IFMT(mode) | 0o600, rdev, dir_fd=folder)
            return entries.finish(folder, name, changes, os.unlink)

    def readlink(self, path: Path) -> bytes:
        with self._node(path) as node:
            target = describe(node).target
        if target is None:
            raise protocol.Invalid(path, "not a symlink")
        if not valid_target(target):
            raise protocol.BadAnswer(path, "no symlink can have this text")
        return target

    def link(self, existing: Path, path: Path) -> Attributes:
        with self._folder(existing) as (old_folder, old), self._folder(path) as (folder, name):
            os.link(old, name, src_dir_fd=old_folder, dst_dir_fd=folder, follow_symlinks=False)
            return entries.look(folder, name)

    def remove(self, path: Path) -> None:
        with self._folder(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def rmdir(self, path: Path) -> None:
        with self._folder(path) as (folder, name):
            entries.emptied(folder, name, lambda: os.rmdir(name, dir_fd=folder))

    def rename(self, old_path: Path, new_path: Path, replace: bool) -> Attributes:
        with self._folder(old_path) as (old_folder, old), self._folder(new_path) as (folder, name):
            if replace:
                entries.emptied(folder, name, lambda: os.rename(old, name, src_dir_fd=old_folder, dst_dir_fd=folder))
            else:
                move_to_free_name(old_folder, old, folder, name)
            return entries.look(folder, name)

    def exchange(self, path: Path, other_path: Path) -> None:
        with self._folder(path) as (folder, name), self._folder(other_path) as (other_folder, other):
            try:
                exchange(folder, name, other_folder, other)
            except OSError as error:
                # renameat2(2): EINVAL is both a folder inside the other and a file system that cannot.
                if error.errno != errno.EINVAL or _one_in_the_other(path, other_path):
                    raise
                raise protocol.Unsupported(other_path, "this file system cannot exchange") from None

    def set_attributes(self, path: Path, changes: Changes, base: Version | None) -> Attributes:
        with self._node(path) as node:
            if base is not None:
                _same(path, os.fstat(node), base)
            change(node, changes)
            return describe(node)

    def authorize(self, path: Path) -> None:
        with self._node(path) as node:
            way = os.fsencode(way_to(node))
            native.call(native.AUDIT_ARCH_X86_64, _FACCESSAT2, (_AT_FDCWD, way, os.W_OK, _AT_EACCESS, 0, 0))

    def get_xattrs(self, path: Path) -> dict[bytes, bytes]:
        with self._node(path) as node:
            return get_xattrs(node)

    def set_xattr(self, path: Path, name: bytes, value: bytes | None) -> Attributes:
        with self._node(path) as node:
            set_xattr(node, name, value)
            return describe(node)

    def sync(self, path: Path) -> None:
        if not path:
            syncfs(self._root.file(b""))
            return
        with self._folder(path) as (folder, name):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                sync_folder(folder, name)
                return
            if stat.S_ISREG(status.st_mode):
                entries.sync(folder, name)
            sync_folder(folder)

    def space(self) -> Space:
        room = os.statvfs(self._root.file(b""))
        unit = room.f_frsize
        return Space(
            total=room.f_blocks * unit,
            free=room.f_bfree * unit,
            available=room.f_bavail * unit,
            files=room.f_files,
            files_free=room.f_ffree,
        )

    def _open(self, path: Path, flags: int) -> int:
        if ours := self._ours(path):
            raise protocol.NotFound(path, ours)
        return self._beneath(path, flags)

    def _ours(self, path: Path) -> str | None:
        if TEMPORARY.fullmatch(base_of(path)):
            return "the name of an unfinished write"
        if any((path + b"/").startswith(place + b"/") for place in self._hidden):
            return "what this session works with"
        return None

    def _beneath(self, path: Path, flags: int) -> int:
        root = self._root.file(path)
        try:
            return native.open_beneath(root, path or b".", flags)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            # A symlink where a folder was needed: a node like another.
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None

    @contextmanager
    def _node(self, path: Path) -> Iterator[int]:
        node = self._open(path, _NODE)
        try:
            yield node
        finally:
            os.close(node)

    @contextmanager
    def _folder(self, path: Path) -> Iterator[tuple[int, bytes]]:
        """The folder that `path` is in, and its name there, for calls that change the folder."""
        head, _, name = path.rpartition(b"/")
        if not name:
            raise protocol.Forbidden(path, "the root stays as it is")
        if ours := self._ours(path):
            raise protocol.Forbidden(path, ours)
        folder = self._beneath(head, _FOLDER)
        try:
            yield folder, name
        finally:
            os.close(folder)


def _one_in_the_other(path: Path, other: Path) -> bool:
    return path.startswith(other + b"/") or other.startswith(path + b"/")


def _same(path: Path, status: os.stat_result, version: Version) -> None:
    if version_of(status) != version:
        raise protocol.VersionChanged(path)


def _wrong_kind(path: Path, status: os.stat_result) -> protocol.RemoteError:
    if stat.S_ISDIR(status.st_mode):
        return protocol.IsADirectory(path)
    return protocol.Unsupported(path, "only regular files have content")
