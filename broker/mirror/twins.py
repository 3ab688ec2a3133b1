"""Where files with several names are: for each identity of the remote's the paths that it was seen at.

A path on record is a hint: the folders above it may have been renamed since. Whoever follows one looks what is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator

from broker.mirror.ledger import Ledger
from broker.mirror.shared import Locks
from broker.mirror.tree import Tree
from broker.remotes.paths import Path
from broker.remotes.protocol import Attributes, Remote, RemoteError


class Twins:
    """The names of such files in one mirror, for all its sessions."""

    def __init__(self, tree: Tree, ledger: Ledger, locks: Locks) -> None:
        self._tree = tree
        self._ledger = ledger
        self._locks = locks

    @contextlib.asynccontextmanager
    async def placing(self, identity: str | None) -> AsyncIterator[None]:
        """Held, inside all other locks, while a name is placed, lest two sessions make two nodes of one file."""
        if identity is None:
            yield
            return
        async with self._locks.names(b"//" + identity.encode()):
            yield

    async def note(self, identity: str | None, *paths: Path) -> None:
        """The file has these names."""
        if identity is not None:
            rows = [(identity, path) for path in paths]
            await self._ledger.run(lambda database: _insert(database, rows), small=True)

    async def other(self, path: Path, attributes: Attributes) -> Path | None:
        """Another name in the mirror of the same file, at the same version or dirty."""
        for hint in await self.hints(attributes.identity):
            status = self._tree.look(hint) if hint != path else None
            record = await self._ledger.get(status.st_ino) if status else None
            same_file = record is not None and record.identity == attributes.identity
            if record and same_file and (record.version == attributes.version or record.dirty):
                return hint
        return None

    async def elsewhere(self, remote: Remote, path: Path, identity: str) -> Path | None:
        """Where else `remote` has the file, of the paths that it was seen at; None also if it does not say."""
        for hint in await self.hints(identity):
            with contextlib.suppress(RemoteError):
                if hint != path and (await remote.stat(hint)).identity == identity:
                    return hint
        return None

    async def name_of(self, ino: int, identity: str | None) -> Path | None:
        """A name of the inode; without a hint that is true, the whole tree is looked through."""
        for path in await self.hints(identity):
            status = self._tree.look(path)
            if status is not None and status.st_ino == ino:
                return path
        return await asyncio.to_thread(self._tree.find, ino)

    async def forget(self, identity: str | None) -> None:
        """The mirror has no name of the file any more."""
        if identity is not None:
            await self._ledger.run(lambda database: _delete(database, identity), small=True)

    async def hints(self, identity: str | None) -> list[Path]:
        """Where the file was seen."""
        if identity is None:
            return []
        return await self._ledger.run(lambda database: _select(database, identity), small=True)


def _insert(database: sqlite3.Connection, rows: list[tuple[str, Path]]) -> None:
    database.executemany("INSERT OR IGNORE INTO twin (identity, path) VALUES (?, ?)", rows)


def _select(database: sqlite3.Connection, identity: str) -> list[Path]:
    return [path for (path,) in database.execute("SELECT path FROM twin WHERE identity = ?", (identity,))]


def _delete(database: sqlite3.Connection, identity: str) -> None:
    database.execute("DELETE FROM twin WHERE identity = ?", (identity,))
