"""Changes of attributes: made in the mirror first, where the kernel judges them, then on the remote."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import AsyncIterator

from msgspec.structs import replace

from broker.mirror.ledger import Ledger
from broker.mirror.lookup import Lookup
from broker.mirror.names import Act
from broker.mirror.nodes import SET_ID, changes_between, clamp_times
from broker.mirror.records import Record
from broker.mirror.setid import Rule
from broker.mirror.tree import Tree
from broker.mirror.writeback import WriteBack
from broker.remotes.paths import Path
from broker.remotes.protocol import Attributes, Changes, Remote, VersionChanged


class Changing:
    """Modes, owners, times and extended attributes of one mirror."""

    def __init__(self, remote: Remote, tree: Tree, ledger: Ledger, lookup: Lookup, writeback: WriteBack) -> None:
        self._remote = remote
        self._tree = tree
        self._ledger = ledger
        self._lookup = lookup
        self._writeback = writeback

    async def change_written(self, path: Path, act: Act, file: int, rule: Rule | None) -> int:
        """The same through the descriptor `file`, whose close will push the content and most attributes."""
        before = os.fstat(file)
        record = self._ledger.peek(before.st_ino)
        if record is None or not record.dirty or record.mode & SET_ID:
            return await self.change(path, act, file=file, rule=rule, writing=True)
        result = act(path)
        after = clamp_times(file)
        if _owner(before) != _owner(after) or after.st_mode & SET_ID:
            async with self._node(path, file) as here:
                record = await self._ledger.get(before.st_ino)
                if here is not None and record is not None:
                    await self._tell_change(here, before, after, record, True, (0, 0))
        return result

    async def change(
        self, path: Path, act: Act, *, file: int | None = None, rule: Rule | None, writing: bool = False
    ) -> int:
        """Let `act` change the node, or the open `file`; `rule`: the set-id bits that are left, None for all."""
        async with self._node(path, file) as here:
            if here is None:
                return act(path)
            before = self._tree.lstat(here)
            record = await self._ledger.get(before.st_ino) if before else None
            kept = left = 0
            if before and record and stat.S_ISREG(before.st_mode):
                kept = record.mode & SET_ID
                left = kept if rule is None else rule.left(record.mode, before.st_uid, before.st_gid)
            result = self._tree.run(_clamped(act), here)
            after = self._tree.lstat(here)
            if before and after and record:
                await self._tell_change(here, before, after, record, writing, (kept, left))
        return result

    async def set_xattr(self, path: Path, name: bytes, value: bytes | None, act: Act, file: int | None) -> int:
        """setxattr(2), or removexattr(2) when `value` is None."""
        await self.load_xattrs(path, file)
        async with self._node(path, file) as here:
            if here is None:
                return act(path)
            before = self._tree.xattrs(here)
            result = self._tree.run(act, here)
            try:
                attributes = await self._remote.set_xattr(here, name, value)
            except BaseException:
                self._tree.set_xattrs(here, before)
                raise
            status = self._tree.lstat(here)
            if status is not None:
                await self._lookup.rebase(here, status.st_ino, attributes)
        return result

    async def load_xattrs(self, path: Path, file: int | None) -> None:
        """Have the node's extended attributes in the mirror. EOPNOTSUPP where the remote keeps none."""
        if not self._remote.capabilities.extended_attributes:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        async with self._node(path, file) as here:
            if here is None:
                return
            if self._tree.lstat(here) is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            wanted = await self._remote.get_xattrs(here)
            if self._tree.xattrs(here) != wanted:
                self._tree.set_xattrs(here, wanted)

    @contextlib.asynccontextmanager
    async def _node(self, path: Path, file: int | None) -> AsyncIterator[Path | None]:
        """Hold what is at `path`; or else the open `file`, which was there, wherever it is by then. None: it has no
        name any more, and the remote is not concerned."""
        while True:
            await self._lookup.look(path)
            async with self._lookup.locked(path):
                here = path if file is None else await self._where(file)
                if here is None or here == path:
                    yield here
                    return
            path = here

    async def _where(self, file: int) -> Path | None:
        path = self._tree.name_of(file)
        status = os.fstat(file)
        if path is not None or not status.st_nlink:
            return path
        return await asyncio.to_thread(self._tree.find, status.st_ino)

    async def _tell_change(
        self,
        path: Path,
        before: os.stat_result,
        after: os.stat_result,
        record: Record,
        writing: bool,
        set_id: tuple[int, int],
    ) -> None:
        """Have the remote make the change that a call has made here, or take it back.

        `set_id`: the bits that it had, and those that the call leaves of them.
        """
        changes = changes_between(before, after)
        made = self._tree.drop_set_id(path)
        kept, left = set_id[0], set_id[1] | made
        if left != kept or (kept and changes.mode is not None):
            if made and record.dirty:  # what was written before may not take away what is given now
                await self._writeback.push_locked(record.ino, durable=False)
            changes = replace(changes, mode=stat.S_IMODE(after.st_mode) & ~SET_ID | left)
        owner_changed = changes.uid is not None or changes.gid is not None
        # What a push could not know must be told now: it compares no owners, and set-id bits are the remote's alone.
        if record.dirty and writing and not owner_changed and left == kept:
            return
        if not changes:
            return
        try:
            attributes = await self._change_theirs(path, record, changes)
        except BaseException:
            self._tree.restore(path, before)
            raise
        if attributes is None:
            self._lookup.distrust(path)
        else:
            await self._lookup.rebase(path, record.ino, attributes, times=changes.mtime_ns is not None)

    async def _change_theirs(self, path: Path, record: Record, changes: Changes) -> Attributes | None:
        """What the remote has afterwards; None if somebody else had changed the file before, of which it is made
        nevertheless."""
        if not stat.S_ISREG(record.mode):
            return await self._remote.set_attributes(path, changes)
        try:
            return await self._remote.set_attributes(path, changes, record.version)
        except VersionChanged:
            await self._remote.set_attributes(path, changes)
            return None


def _clamped(act: Act) -> Act:
    """`act`, and no time that cannot be put on record."""

    def acting(real: bytes) -> int:
        result = act(real)
        clamp_times(real)
        return result

    return acting


def _owner(status: os.stat_result) -> tuple[int, int]:
    return status.st_uid, status.st_gid
