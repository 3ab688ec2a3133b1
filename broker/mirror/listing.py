"""Listing a folder: all names in it are made to agree with the remote, page by page."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence

from broker.mirror.agreeing import Agreeing
from broker.mirror.ahead import ahead
from broker.mirror.ledger import Ledger
from broker.mirror.placing import Placing, same
from broker.mirror.shared import Generation, Locks
from broker.mirror.threads import FEW, briefly
from broker.mirror.tree import Tree
from broker.mirror.trust import Trust
from broker.remotes.paths import Path, join
from broker.remotes.protocol import Entry, Remote

_TOGETHER = 500
"""Names that are placed and put on record before others may change some in that folder."""
_SHORT = 4096
"""Bytes that file systems give a folder of some hundred names."""
_MISSES_LEAST, _MISSES_SHARE = 8, 20
"""Names of a listed folder that are asked for singly, at least and as a share of all, before it is listed anew."""
_FOLDERS_MOST = 100_000
"""Folders of which that is counted; beyond it, it begins anew for all."""


class Listing:
    """Makes listings, and knows when one is cheaper than to ask for names singly."""

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        ledger: Ledger,
        locks: Locks,
        generation: Generation,
        trust: Trust,
        placing: Placing,
        agreeing: Agreeing,
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._ledger = ledger
        self._locks = locks
        self._generation = generation
        self._trust = trust
        self._placing = placing
        self._agreeing = agreeing
        self._misses: dict[Path, tuple[int, int]] = {}
        """Of a listed folder: names asked for singly since, and all names."""

    async def list(self, path: Path) -> None:
        """Make the names in the mirror's folder those of the remote's, each with its placeholder.

        The next page is asked for while one is placed, on a thread: a folder of 100,000 names must not keep other
        calls waiting.
        """
        started = time.monotonic()
        token = self._generation.folder(path)
        seen: set[bytes] = set()
        before = await self._names(path)
        async with ahead(self._remote.list(path)) as pages:
            async for page in pages:
                seen.update(entry.name for entry in page)
                known = [entry for entry in page if entry.name in before]
                placed = await self._agree_known(path, known, token) if known else ()
                absent = [entry for entry in page if entry.name not in placed] if placed else page
                for start in range(0, len(absent), _TOGETHER):
                    await self._place(path, absent[start : start + _TOGETHER], token)
        for name in await self._names(path):
            if name not in seen:
                await self._agreeing.agree(join(path, name), None, token)
        await self._agreeing.agree(path, *await self._agreeing.ask(path))
        self._trust.name(path, started)
        ended = time.monotonic()
        self._trust.listing(path, ended, ended - started)
        if len(self._misses) > _FOLDERS_MOST:
            self._misses.clear()
        self._misses[path] = 0, len(seen)

    def is_worth_it(self, folder: Path) -> bool:
        """Whether so many names of a listed folder are asked for that one listing is cheaper than the rest singly."""
        misses, entries = self._misses.get(folder, (0, 0))
        listed = self._trust.is_listed(folder)
        if listed:
            self._misses[folder] = misses + 1, entries
        return listed and misses > _MISSES_LEAST + entries // _MISSES_SHARE

    def forgive(self, folder: Path) -> None:
        """A name that was asked for because it was about to be made, or to go, says nothing about the others."""
        misses, entries = self._misses.get(folder, (0, 0))
        if misses:
            self._misses[folder] = misses - 1, entries

    async def _agree_known(self, folder: Path, entries: Sequence[Entry], token: bytes) -> Collection[bytes]:
        """Agree on names that the mirror had when the listing began; those that it has still."""
        present = await briefly(len(entries) <= FEW, self._stats, folder, [entry.name for entry in entries])
        records = await self._ledger.get_many(status.st_ino for status in present.values())
        for entry in entries:
            status = present.get(entry.name)
            record = records.get(status.st_ino) if status else None
            path, attributes = join(folder, entry.name), entry.attributes
            if status and not (record and same(status, record, attributes)):
                await self._agreeing.agree(path, attributes, token)
            elif status and record:
                await self._agreeing.mend(path, status, record, attributes, token)
        return present.keys()

    async def _place(self, folder: Path, absent: Sequence[Entry], token: bytes) -> None:
        """Placeholders for names that the mirror lacks: together where nobody has changed a name since the folder was
        listed, or is about to, except for files with other names."""
        made: Collection[bytes] = ()
        async with self._locks.filling(folder) as filling:
            if filling and self._generation.folder(folder) == token:
                alone = [entry for entry in absent if entry.attributes.identity is None]
                made = await self._placing.fill(folder, alone)
        for entry in absent:
            if entry.name not in made:
                await self._agreeing.agree(join(folder, entry.name), entry.attributes, token)

    async def _names(self, path: Path) -> Collection[bytes]:
        status = self._tree.lstat(path)
        return await briefly(status is not None and status.st_size <= _SHORT, self._tree.names, path)

    def _stats(self, path: Path, names: Sequence[bytes]) -> dict[bytes, os.stat_result]:
        found = {name: self._tree.lstat(join(path, name)) for name in names}
        return {name: status for name, status in found.items() if status is not None}
