"""Holding names, and the nodes that they are of, against everybody else who would change them."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator

from broker.mirror.ledger import Ledger
from broker.mirror.shared import Locks
from broker.mirror.tree import Tree
from broker.remotes.paths import Path, parent_of


class Holding:
    """The locks of names and of nodes, taken in one order by all sessions on a mirror."""

    def __init__(self, tree: Tree, ledger: Ledger, locks: Locks) -> None:
        self._tree = tree
        self._ledger = ledger
        self._locks = locks

    @contextlib.asynccontextmanager
    async def locked(self, *paths: Path, below: bool = False) -> AsyncIterator[None]:
        """Hold those names and the nodes that they are of; `below`: also the dirty files below.

        First the names, then the nodes in one order, so that nobody waits in a ring.
        """
        async with self._locks.names(*paths), contextlib.AsyncExitStack() as stack:
            inos = {status.st_ino for path in paths if (status := self._tree.lstat(path))}
            if below and (dirty := {record.ino for record in await self._ledger.dirty()} - inos):
                for path in paths:
                    inos |= dirty & await asyncio.to_thread(self._inos_below, path)
            for ino in sorted(inos):
                await stack.enter_async_context(self._locks.node(ino))
            yield

    @contextlib.asynccontextmanager
    async def changing(self, *paths: Path, below: bool = False) -> AsyncIterator[None]:
        """As `locked`, for who makes or removes those names: no listing adds any to their folders meanwhile."""
        async with self._locks.changing(*map(parent_of, paths)), self.locked(*paths, below=below):
            yield

    def _inos_below(self, path: Path) -> set[int]:
        status = self._tree.lstat(path)
        if status is None or not stat.S_ISDIR(status.st_mode):
            return set()
        return {below.st_ino for _, below in self._tree.walk(path)}
