"""Folders that the mirror has at a path already, and the remote not yet: what is made in them waits for that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from broker.remotes.paths import Path, parent_of


class Arriving:
    """Those that are made, or get another name, in this session."""

    def __init__(self) -> None:
        self._paths: dict[Path, asyncio.Event] = {}

    @contextlib.contextmanager
    def at(self, *paths: Path) -> Iterator[None]:
        """While the remote is told of something new at `paths`, whose locks are held."""
        arrived = asyncio.Event()
        self._paths |= dict.fromkeys(paths, arrived)
        try:
            yield
        finally:
            for path in paths:
                del self._paths[path]
            arrived.set()

    async def above(self, path: Path) -> None:
        """Return when nothing on the way to `path` is on its own way to the remote."""
        if not self._paths:
            return
        while path:
            path = parent_of(path)
            while path in self._paths:
                await self._paths[path].wait()
