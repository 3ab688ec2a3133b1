"""Changes of names: made in the mirror first, where the kernel judges them, then on the remote, or taken back.

`act` runs the program's own system call on real paths under the program's identity; its OSError is the answer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from broker.mirror.arriving import Arriving
from broker.mirror.digests import EMPTY_DIGEST
from broker.mirror.ledger import Ledger
from broker.mirror.lookup import Lookup
from broker.mirror.nodes import changes_of, reopen
from broker.mirror.rebasing import Rebasing
from broker.mirror.stash import Stash
from broker.mirror.tree import Tree
from broker.mirror.twins import Twins
from broker.remotes.paths import Path, parent_of
from broker.remotes.protocol import AlreadyExists, Attributes, Changes, NotFound, Remote, RemoteError

Result = TypeVar("Result")
Act = Callable[[bytes], int]
ActTwice = Callable[[bytes, bytes], int]


class Names:
    """mkdir, unlink, rename and their kin on one mirror and its remote."""

    def __init__(self, remote: Remote, tree: Tree, ledger: Ledger, lookup: Lookup, twins: Twins) -> None:
        self._remote = remote
        self._tree = tree
        self._ledger = ledger
        self._lookup = lookup
        self._twins = twins
        self._records = Rebasing(remote, tree, ledger, lookup, twins)
        self._stash = Stash(tree)
        self._arriving = Arriving()

    async def create(self, path: Path, act: Act, *, dirty: bool) -> int:
        """Make a new file: `act` opens it with O_CREAT|O_EXCL. It is empty on the remote when this returns.

        The broker's descriptor of it; `dirty` when it is open for writing. FileExistsError when the mirror or the
        remote has the name by now.
        """
        await self._arriving.above(path)
        async with self._lookup.changing(path):
            file = self._tree.run(act, path)
            attributes = None
            try:
                changes = self._changes(os.fstat(file))
                self._tree.drop_set_id(path)
                attributes = await self._arrived(path, lambda: self._write_new(path, file, changes))
                path = self._tree.name_of(file) or path  # its folder may have been moved meanwhile
                await self._lookup.learn(path, attributes, dirty=dirty, digest=EMPTY_DIGEST)
            except BaseException as error:
                os.close(file)
                await self._unmake(path, attributes)
                raise _exists(error) from error
            self._lookup.changed(path)
            return file

    async def mkdir(self, path: Path, act: Act) -> int:
        return await self._make(path, act, lambda changes: self._remote.mkdir(path, changes), empty=True)

    async def symlink(self, path: Path, target: bytes, act: Act) -> int:
        self._require(self._remote.capabilities.symlinks)
        return await self._make(path, act, lambda changes: self._remote.symlink(path, target, changes))

    async def mknod(self, path: Path, act: Act) -> int:
        """A FIFO or device node; a regular file made by mknod(2) as well."""

        async def make(changes: Changes) -> Attributes:
            real = self._tree.real(path)
            status = os.lstat(real)
            if not stat.S_ISREG(status.st_mode):
                self._require(self._remote.capabilities.special_files)
                return await self._remote.mknod(path, status.st_mode, status.st_rdev, changes)
            file = self._tree.open(path, os.O_PATH)
            try:
                return await self._write_new(path, file, changes)
            finally:
                os.close(file)

        return await self._make(path, act, make)

    async def link(self, existing: Path, path: Path, act: ActTwice) -> int:
        self._require(self._remote.capabilities.hard_links)
        await self._arriving.above(existing)
        await self._arriving.above(path)
        async with self._lookup.changing(existing, path):
            result = self._tree.run(act, existing, path)
            try:
                attributes = await self._remote.link(existing, path)
            except BaseException as error:
                self._undo(path, lambda: self._tree.remove(path))
                raise _exists(error) from error
            agrees = await self._records.rebase(existing, attributes)
            await self._twins.note(attributes.identity, existing, path)
            self._lookup.changed(path)
            if not agrees:
                self._lookup.distrust(path)  # it is the same node
            return result

    async def unlink(self, path: Path, act: Act) -> int:
        async with self._lookup.changing(path):
            with self._tree.pinned(path):
                return await self._remove(path, act, self._remote.remove)

    async def rmdir(self, path: Path, act: Act) -> int:
        async with self._lookup.changing(path):
            with self._tree.pinned(path):
                return await self._remove(path, act, self._remote.rmdir)

    async def rename(self, old: Path, new: Path, act: ActTwice, *, replace: bool, exchange: bool) -> int:
        """rename(2). What is being pushed from below a folder is finished first: it would lose its way."""
        await self._arriving.above(old)
        await self._arriving.above(new)
        async with self._lookup.changing(old, new, below=True):
            with self._tree.pinned(new), self._arriving.at(*{old, new}):
                return await self._rename(old, new, act, replace=replace, exchange=exchange)

    async def _rename(self, old: Path, new: Path, act: ActTwice, *, replace: bool, exchange: bool) -> int:
        target = self._tree.lstat(new)
        moved = self._tree.lstat(old)
        kept = await self._keep(new, target) if target and not exchange else None
        try:
            self._lookup.moved(moved, target)
            result = self._tree.run(act, old, new)
            self._lookup.moved(moved, target)
        except OSError:
            self._drop_kept(kept)
            raise
        if moved and target and moved.st_ino == target.st_ino:
            self._drop_kept(kept)
            return result
        try:
            if exchange:
                await self._remote.exchange(old, new)
            else:
                attributes = await self._remote.rename(old, new, replace=replace)
        except BaseException as error:
            # Not as the caller: he may have been allowed to move it there, but not back.
            undone = self._undo(old, lambda: self._tree.exchange(old, new) if exchange else self._tree.move(new, old))
            if undone and target and not exchange:
                self._give_back(new, target, kept)
            self._lookup.distrust(new)
            raise _exists(error) from error
        self._lookup.moved(moved, target)
        for path in (old, new):
            if _is_folder(moved) or _is_folder(target):
                self._lookup.forget(path)
            self._lookup.changed(path)
        with self._records.happened(old, new):
            if target and not exchange:
                await self._records.drop_name(target)
            self._drop_kept(kept)
            if exchange:
                await self._records.ask_anew(old)
                await self._records.ask_anew(new)
            else:
                await self._records.rebase(new, attributes)
                await self._twins.note(attributes.identity, new)
            went, came = _is_folder(moved), _is_folder(target)
            more = Counter({parent_of(new): went - came})
            more[parent_of(old)] += (came if exchange else 0) - went
            await self._records.count_folders(more)
        return result

    async def _write_new(self, path: Path, file: int, changes: Changes) -> Attributes:
        """An empty file on the remote, where the new one is here by now."""
        source = reopen(file, os.O_RDONLY)
        try:
            return await self._remote.write(self._tree.name_of(file) or path, source, None, changes, durable=False)
        finally:
            os.close(source)

    async def _make(
        self, path: Path, act: Act, make: Callable[[Changes], Awaitable[Attributes]], *, empty: bool = False
    ) -> int:
        await self._arriving.above(path)
        async with self._lookup.changing(path):
            result = self._tree.run(act, path)
            attributes = None
            try:
                changes = self._changes(os.lstat(self._tree.real(path)))
                self._tree.drop_set_id(path)
                with self._arriving.at(path):
                    attributes = await self._arrived(path, lambda: make(changes))
                await self._lookup.learn(path, attributes, digest=EMPTY_DIGEST if attributes.is_regular else None)
            except BaseException as error:
                await self._unmake(path, attributes)
                raise _exists(error) from error
            self._lookup.changed(path, empty=empty)
            with self._records.happened(path):
                await self._records.count_folders({parent_of(path): int(attributes.is_directory)})
            return result

    async def _arrived(self, path: Path, make: Callable[[], Awaitable[Attributes]]) -> Attributes:
        """What the remote makes, in a folder that another session may not have told it of yet."""
        try:
            return await make()
        except NotFound:
            await self._lookup.arrival(path)
            return await make()

    async def _remove(self, path: Path, act: Act, remove: Callable[[Path], Awaitable[None]]) -> int:
        status = self._tree.lstat(path)
        kept = await self._keep(path, status) if status else None
        try:
            result = self._tree.run(act, path)
        except OSError:
            self._drop_kept(kept)
            raise
        try:
            with contextlib.suppress(NotFound):
                await remove(path)
        except BaseException:
            if status:
                self._give_back(path, status, kept)
            self._lookup.distrust(path)
            raise
        self._lookup.changed(path)
        with self._records.happened(path):
            if status:
                await self._records.drop_name(status)
            self._drop_kept(kept)
            await self._records.count_folders({parent_of(path): -_is_folder(status)})
        return result

    async def _keep(self, path: Path, status: os.stat_result) -> bytes | None:
        """What is about to go is kept until the remote has agreed: it may be the only copy."""
        if stat.S_ISDIR(status.st_mode):
            return None
        record = await self._ledger.get(status.st_ino)
        return self._stash.keep(path, status.st_ino, noted=record is not None and record.dirty)

    def _give_back(self, path: Path, status: os.stat_result, kept: bytes | None) -> None:
        """The remote has refused, so what went is there again; a folder was empty."""
        if kept is not None:
            self._stash.give_back(kept, path)
        else:
            with contextlib.suppress(OSError):
                self._tree.remake_folder(path, status)

    def _drop_kept(self, kept: bytes | None) -> None:
        """Not before the record has gone, even if the ledger fails: the inode's number is free from now on."""
        if kept is not None:
            self._stash.drop(kept)

    async def _unmake(self, path: Path, made: Attributes | None) -> None:
        """Take back what a call was about to make, here and there. Its record goes first: then its number is free."""
        if made is not None and (status := self._tree.lstat(path)):
            with contextlib.suppress(OSError):
                await self._ledger.drop(status.st_ino)
        self._undo(path, lambda: self._tree.remove(path))
        await self._take_back(path, made)

    async def _take_back(self, path: Path, made: Attributes | None) -> None:
        """Remove what the remote has made for a call that fails nevertheless, unless it is another's by now."""
        with contextlib.suppress(RemoteError):
            if made is not None and (await self._remote.stat(path)).version == made.version:
                await (self._remote.rmdir(path) if made.is_directory else self._remote.remove(path))

    def _undo(self, path: Path, step: Callable[[], object]) -> bool:
        """Whether that was possible; it is the remote's in any case what is shown of `path` from now on."""
        self._lookup.distrust(path)
        try:
            step()
        except OSError:
            return False
        return True

    def _changes(self, status: os.stat_result) -> Changes:
        return changes_of(status, owners=self._remote.capabilities.owners)

    @staticmethod
    def _require(capability: bool) -> None:
        """EPERM is what link(2), symlink(2) and mknod(2) give on a file system without the kind."""
        if not capability:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def _is_folder(status: os.stat_result | None) -> bool:
    return status is not None and stat.S_ISDIR(status.st_mode)


def _exists(error: BaseException) -> BaseException:
    return FileExistsError(errno.EEXIST, str(error)) if isinstance(error, AlreadyExists) else error
