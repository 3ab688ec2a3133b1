"""Names that a file has on the remote and the mirror lacks: one of them is brought before the last known one goes.

Who has the file open would write to a node without a name otherwise, which is pushed nowhere.
"""

from __future__ import annotations

import contextlib

from broker.mirror.lookup import Lookup
from broker.mirror.placing import Placing
from broker.mirror.twins import Twins
from broker.remotes.paths import Path, join, parent_of
from broker.remotes.protocol import Attributes, NotADirectory, NotFound, Remote

_GONE = NotFound, NotADirectory


class Others:
    """The further names of one mirror's files."""

    def __init__(self, remote: Remote, lookup: Lookup, placing: Placing, twins: Twins) -> None:
        self._remote = remote
        self._lookup = lookup
        self._placing = placing
        self._twins = twins

    async def bring(self, path: Path, identity: str) -> None:
        """Make another name of the file at `path` a hard link in the mirror, if there is one. No lock is held."""
        found = await self._known(path, identity) or await self._search(path, identity)
        if found is None:
            return
        other, attributes = found
        for folder in _ways(other):
            await self._lookup.look(folder)
        await self._twins.note(identity, path)
        async with self._lookup.changing(path, other):
            await self._placing.settle(other, attributes)

    async def _known(self, path: Path, identity: str) -> tuple[Path, Attributes] | None:
        """One that was seen before, if it is still there."""
        for hint in await self._twins.hints(identity):
            with contextlib.suppress(*_GONE):
                attributes = await self._remote.stat(hint)
                if hint != path and attributes.identity == identity:
                    return hint, attributes
        return None

    async def _search(self, path: Path, identity: str) -> tuple[Path, Attributes] | None:
        """No remote can be asked for the names of a file: all of its folders are looked through."""
        folders = [b""]
        while folders:
            folder = folders.pop()
            with contextlib.suppress(*_GONE):
                async for page in self._remote.list(folder):
                    for entry in page:
                        name = join(folder, entry.name)
                        if entry.attributes.identity == identity and name != path:
                            return name, entry.attributes
                        if entry.attributes.is_directory:
                            folders.append(name)
        return None


def _ways(path: Path) -> list[Path]:
    """The folders that a path leads through, from the top."""
    above = parent_of(path)
    return [*_ways(above), above] if above else []
