"""What goes on record after a call has made, taken or moved a name: by then the node has another version there."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping

from broker.mirror.ledger import Ledger
from broker.mirror.lookup import Lookup
from broker.mirror.tree import Tree
from broker.mirror.twins import Twins
from broker.remotes.paths import Path
from broker.remotes.protocol import Attributes, Remote, RemoteError


class Rebasing:
    """Hold the locks of the names and their nodes."""

    def __init__(self, remote: Remote, tree: Tree, ledger: Ledger, lookup: Lookup, twins: Twins) -> None:
        self._remote = remote
        self._tree = tree
        self._ledger = ledger
        self._lookup = lookup
        self._twins = twins

    @contextlib.contextmanager
    def happened(self, *paths: Path) -> Iterator[None]:
        """What the remote has done cannot fail any more: where the ledger cannot be written, it is behind."""
        try:
            yield
        except OSError:
            for path in paths:
                self._lookup.distrust(path)

    async def rebase(self, path: Path, attributes: Attributes) -> bool:
        """Put the node at `path` on record as the remote has it now; as `Lookup.rebase`."""
        status = self._tree.lstat(path)
        return status is None or await self._lookup.rebase(path, status.st_ino, attributes)

    async def ask_anew(self, path: Path) -> None:
        """Put on record the version that a change of ours has given the node at `path`."""
        try:
            attributes = await self._remote.stat(path)
        except RemoteError:
            self._lookup.distrust(path)
            return
        await self.rebase(path, attributes)
        await self._twins.note(attributes.identity, path)

    async def drop_name(self, status: os.stat_result) -> None:
        """What is on record of a node that has lost its only name, or one: then the remote's version has moved."""
        record = await self._ledger.get(status.st_ino)
        identity = record.identity if record else None
        if status.st_nlink == 1 or stat.S_ISDIR(status.st_mode):
            await self._ledger.drop(status.st_ino)
            await self._twins.forget(identity)
            return
        other = await self._twins.name_of(status.st_ino, identity)
        if other is not None:
            with contextlib.suppress(RemoteError):
                await self._lookup.rebase(other, status.st_ino, await self._remote.stat(other))

    async def count_folders(self, more: Mapping[Path, int]) -> None:
        """In each of these folders are so many more: links of theirs, where the remote counts those."""
        for path, count in more.items():
            status = self._tree.lstat(path) if count else None
            record = await self._ledger.get(status.st_ino) if status else None
            if record is not None and record.nlink > 1:
                await self._ledger.add_links(record.ino, count)
