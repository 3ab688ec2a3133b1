"""Changes of names: made in the mirror first, where the kernel judges them, then on the remote, or taken back.

`act` runs the program's own system call on real paths under the program's identity; its OSError is the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from broker.mirror.content import EMPTY_DIGEST
from broker.mirror.ledger import Ledger
from broker.mirror.lookup import Lookup
from broker.mirror.shared import Locks
from broker.mirror.tree import Tree, changes_of
from broker.remotes.protocol import AlreadyExists, Attributes, Changes, NotFound, Path, Remote

Result = TypeVar("Result")
Act = Callable[[bytes], int]
ActTwice = Callable[[bytes, bytes], int]


class Names:
    """mkdir, unlink, rename and their kin on one mirror and its remote."""

    def __init__(self, remote: Remote, tree: Tree, ledger: Ledger, locks: Locks, lookup: Lookup) -> None:
        self._remote = remote
        self._tree = tree
        self._ledger = ledger
        self._locks = locks
        self._lookup = lookup

    async def create(self, path: Path, act: Act) -> int:
        """Make a new file: `act` opens it with O_CREAT|O_EXCL. It is empty on the remote when this returns.

        The broker's descriptor of it. FileExistsError when the mirror or the remote has the name by now.
        """
        async with self._locks.names(path):
            file = self._run(act, path)
            try:
                changes = self._changes(os.fstat(file))
                attributes = await self._remote.write(path, file, None, changes, durable=False)
            except BaseException as error:
                os.close(file)
                self._undo(path, lambda: os.unlink(self._tree.real(path)))
                raise _exists(error) from error
            self._tree.drop_set_id(file)
            await self._lookup.learn(path, attributes, dirty=True, digest=EMPTY_DIGEST)
            self._lookup.changed(path)
            return file

    async def mkdir(self, path: Path, act: Act) -> int:
        return await self._make(path, act, lambda changes: self._remote.mkdir(path, changes), empty=True)

    async def symlink(self, path: Path, target: bytes, act: Act) -> int:
        self._require(self._remote.capabilities.symlinks)
        return await self._make(path, act, lambda changes: self._remote.symlink(path, target, changes))

    async def mknod(self, path: Path, act: Act) -> int:
        """A FIFO or device node; a regular file made by mknod(2) as well."""
        real = self._tree.real(path)

        async def make(changes: Changes) -> Attributes:
            status = os.lstat(real)
            if not stat.S_ISREG(status.st_mode):
                self._require(self._remote.capabilities.special_files)
                return await self._remote.mknod(path, status.st_mode, status.st_rdev, changes)
            file = os.open(real, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return await self._remote.write(path, file, None, changes, durable=False)
            finally:
                os.close(file)

        return await self._make(path, act, make)

    async def link(self, existing: Path, path: Path, act: ActTwice) -> int:
        self._require(self._remote.capabilities.hard_links)
        real_new = self._tree.real(path)
        async with self._locks.names(existing, path), self._node(existing):
            result = self._run_twice(act, existing, path)
            try:
                attributes = await self._remote.link(existing, path)
            except BaseException as error:
                self._undo(path, lambda: os.unlink(real_new))
                raise _exists(error) from error
            await self._rebase(existing, attributes)
            self._lookup.changed(path)
            return result

    async def unlink(self, path: Path, act: Act) -> int:
        async with self._locks.names(path):
            with self._tree.pinned(path):
                async with self._node(path):
                    return await self._remove(path, act, self._remote.remove)

    async def rmdir(self, path: Path, act: Act) -> int:
        async with self._locks.names(path):
            with self._tree.pinned(path):
                return await self._remove(path, act, self._remote.rmdir)

    async def rename(self, old: Path, new: Path, act: ActTwice, *, replace: bool, exchange: bool) -> int:
        async with self._locks.names(old, new):
            with self._tree.pinned(new):
                async with self._node(old):
                    return await self._rename(old, new, act, replace=replace, exchange=exchange)

    async def _rename(self, old: Path, new: Path, act: ActTwice, *, replace: bool, exchange: bool) -> int:
        real_old, real_new = self._tree.real(old), self._tree.real(new)
        target = self._tree.lstat(new)
        moved = self._tree.lstat(old)
        kept = await self._stash(new, target) if target and not exchange else None
        try:
            result = self._run_twice(act, old, new)
        except OSError:
            self._drop_stash(kept)
            raise
        if moved and target and moved.st_ino == target.st_ino:
            self._drop_stash(kept)
            return result
        try:
            if exchange:
                await self._remote.exchange(old, new)
            else:
                attributes = await self._remote.rename(old, new, replace=replace)
        except BaseException as error:
            self._undo(old, lambda: act(real_new, real_old))
            if kept is not None:
                self._tree.unstash(kept, new)
            self._lookup.distrust(new)
            raise _exists(error) from error
        self._drop_stash(kept)
        if target and not exchange:
            await self._drop_name(target)
        for path in (old, new):
            self._lookup.forget(path)
            self._lookup.changed(path)
        if exchange:
            self._lookup.distrust(old)
            self._lookup.distrust(new)
        else:
            await self._rebase(new, attributes)
        return result

    async def _make(
        self, path: Path, act: Act, make: Callable[[Changes], Awaitable[Attributes]], *, empty: bool = False
    ) -> int:
        real = self._tree.real(path)
        async with self._locks.names(path):
            result = self._run(act, path)
            try:
                attributes = await make(self._changes(os.lstat(real)))
            except BaseException as error:
                self._undo(path, lambda: os.rmdir(real) if empty else os.unlink(real))
                raise _exists(error) from error
            await self._lookup.learn(path, attributes)
            self._lookup.changed(path, empty=empty)
            return result

    async def _remove(self, path: Path, act: Act, remove: Callable[[Path], Awaitable[None]]) -> int:
        status = self._tree.lstat(path)
        kept = await self._stash(path, status) if status else None
        try:
            result = self._run(act, path)
        except OSError:
            self._drop_stash(kept)
            raise
        try:
            with contextlib.suppress(NotFound):
                await remove(path)
        except BaseException:
            if kept is not None:
                self._tree.unstash(kept, path)
            self._lookup.distrust(path)
            raise
        self._drop_stash(kept)
        if status:
            await self._drop_name(status)
        self._lookup.forget(path)
        self._lookup.changed(path)
        return result

    @contextlib.asynccontextmanager
    async def _node(self, path: Path) -> AsyncIterator[None]:
        """The node's lock, where there is a node: a change of its names moves the version that a push is based on."""
        status = self._tree.lstat(path)
        if status is None:
            yield
            return
        async with self._locks.node(status.st_ino):
            yield

    def _run(self, act: Act, path: Path) -> int:
        with self._tree.mutex:
            return act(self._tree.real(path))

    def _run_twice(self, act: ActTwice, one: Path, other: Path) -> int:
        with self._tree.mutex:
            return act(self._tree.real(one), self._tree.real(other))

    async def _drop_name(self, status: os.stat_result) -> None:
        """What is on record of a node that has lost its only name, or one: then the remote's version has moved."""
        if status.st_nlink == 1 or stat.S_ISDIR(status.st_mode):
            await self._ledger.drop(status.st_ino)
            return
        record = await self._ledger.get(status.st_ino)
        other = await asyncio.to_thread(self._tree.find, status.st_ino)
        if record is not None and other is not None:
            await self._lookup.rebase(other, record, await self._remote.stat(other))

    async def _stash(self, path: Path, status: os.stat_result) -> bytes | None:
        """A dirty file that is about to go is kept until the remote has agreed: it may be the only copy."""
        record = await self._ledger.get(status.st_ino)
        return self._tree.stash(path, status.st_ino) if record is not None and record.dirty else None

    @staticmethod
    def _drop_stash(kept: bytes | None) -> None:
        if kept is not None:
            os.unlink(kept)

    async def _rebase(self, path: Path, attributes: Attributes) -> None:
        """The remote's version of a node moved because of our own change; its content did not."""
        status = self._tree.lstat(path)
        record = await self._ledger.get(status.st_ino) if status else None
        if record is not None:
            await self._lookup.rebase(path, record, attributes)

    def _undo(self, path: Path, step: Callable[[], object]) -> None:
        with contextlib.suppress(OSError):
            step()
        self._lookup.distrust(path)

    def _changes(self, status: os.stat_result) -> Changes:
        return changes_of(status, owners=self._remote.capabilities.owners)

    @staticmethod
    def _require(capability: bool) -> None:
        """EPERM is what link(2), symlink(2) and mknod(2) give on a file system without the kind."""
        if not capability:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def _exists(error: BaseException) -> BaseException:
    return FileExistsError(errno.EEXIST, str(error)) if isinstance(error, AlreadyExists) else error
