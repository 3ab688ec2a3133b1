"""Agreeing on one name: the mirror's node is made the one that the remote has, unless the mirror's is newer."""

from __future__ import annotations

import contextlib
import os
import stat

from broker.mirror.holding import Holding
from broker.mirror.ledger import Ledger
from broker.mirror.placing import Placing, agrees, same
from broker.mirror.records import Record
from broker.mirror.shared import Generation, Locks
from broker.mirror.tree import GONE, Tree
from broker.mirror.trust import Trust
from broker.mirror.twins import Twins
from broker.remotes.paths import Path, parent_of
from broker.remotes.protocol import Attributes, NotADirectory, NotFound, Remote


class Agreeing:
    """Compares what the remote says of a name with the mirror and the ledger, and has it placed where they differ."""

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        ledger: Ledger,
        locks: Locks,
        generation: Generation,
        trust: Trust,
        placing: Placing,
        twins: Twins,
        holding: Holding,
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._ledger = ledger
        self._locks = locks
        self._generation = generation
        self._trust = trust
        self._placing = placing
        self._twins = twins
        self._holding = holding

    async def ask(self, path: Path) -> tuple[Attributes | None, bytes]:
        """What the remote has at `path`, None for nothing, and the folder's token from before it was asked."""
        token = self._generation.folder(parent_of(path))
        try:
            return await self._remote.stat(path), token
        except (NotFound, NotADirectory):
            return None, token

    async def agree(self, path: Path, attributes: Attributes | None, token: bytes) -> None:
        """Make the mirror's node at `path` the one that the remote has."""
        if await self._agrees(path, attributes, token):
            return
        async with self._holding.locked(path):
            if self._generation.folder(parent_of(path)) != token:
                # Somebody has changed something there since the remote was asked; as to this name, nobody can now.
                attributes, token = await self.ask(path)
            if not await self._agrees(path, attributes, token):
                before = self._tree.lstat(path)
                with contextlib.suppress(*GONE):
                    await self._placing.settle(path, attributes)
                if before and stat.S_ISDIR(before.st_mode):
                    after = self._tree.lstat(path)
                    if after is None or after.st_ino != before.st_ino:
                        self._trust.forget(path)

    async def _agrees(self, path: Path, attributes: Attributes | None, token: bytes) -> bool:
        """Whether the mirror has what the remote has, or something newer."""
        status = self._tree.lstat(path)
        if status is None:
            return attributes is None
        record = await self._ledger.get(status.st_ino)
        if record is not None and record.dirty:
            return status.st_nlink == 1 or not await self._has_left(path, record, attributes)
        if record is None or attributes is None:
            return False
        if not same(status, record, attributes):
            return False
        await self.mend(path, status, record, attributes, token)
        return True

    async def _has_left(self, path: Path, record: Record, attributes: Attributes | None) -> bool:
        """Whether the remote has something else at `path` by now than the dirty file with this and other names here.

        What is newer here is the content, and that is for the other names. In doubt it has not.
        """
        if attributes is None:
            return True
        if record.identity is None or attributes.identity == record.identity:
            return False
        if attributes.identity is not None:
            return True
        return await self._twins.elsewhere(self._remote, path, record.identity) is not None

    async def mend(
        self, path: Path, status: os.stat_result, record: Record, attributes: Attributes, token: bytes
    ) -> None:
        """Somebody may have been killed while he worked on a file's content: what has none has the size and time that
        are on record. Or after a change of attributes here, of which the remote was not told. What is dirty is newer
        than both."""
        bent = record.is_bent(status)
        if record.dirty or (not bent and self._is_dressed(status, attributes)):
            return
        async with self._locks.attempt(record.ino) as mine:
            if not mine or record != await self._ledger.get(record.ino):
                return
            if bent:
                self._tree.mend(path, record.ino, record.size, record.mtime_ns)
            elif token == self._generation.folder(parent_of(path)):  # else the attributes may be older than ours
                self._tree.set_attributes_again(path, record.ino, attributes)

    def _is_dressed(self, status: os.stat_result, attributes: Attributes) -> bool:
        """Other kinds than files and folders may have times of their own, as a FIFO has."""
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return True
        return agrees(status, attributes, self._remote.capabilities) and self._tree.has_owner(status, attributes)
