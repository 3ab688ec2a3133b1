"""Placeholders: the mirror's nodes are made, replaced, updated and removed as the remote's are."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from broker.mirror import leases, making
from broker.mirror.ledger import Ledger
from broker.mirror.nodes import SET_ID, Unplaceable
from broker.mirror.records import Record
from broker.mirror.threads import FEW, briefly, on_thread
from broker.mirror.tree import Tree
from broker.mirror.twins import Twins
from broker.remotes.paths import Path, parent_of
from broker.remotes.protocol import Attributes, Capabilities, Entry


class Placing:
    """The tree and what is on record of it. Names and nodes that are given to `settle` are locked by the caller."""

    def __init__(self, tree: Tree, ledger: Ledger, twins: Twins) -> None:
        self._tree = tree
        self._ledger = ledger
        self._twins = twins

    async def settle(self, path: Path, attributes: Attributes | None) -> None:
        """Make, replace, update or remove the node at `path`, whose locks are held."""
        status = self._tree.lstat(path)
        if status and (attributes is None or stat.S_IFMT(status.st_mode) != stat.S_IFMT(attributes.mode)):
            if not await self._discard(path, status):
                return
            status = None
        if attributes is None:
            return
        async with self._twins.placing(attributes.identity):
            if status is None:
                with contextlib.suppress(FileExistsError):  # a listing, which takes no locks, was faster
                    await self._create(path, attributes)
            elif attributes.is_directory:
                self._tree.set_attributes(path, attributes)
                await self._ledger.put(record_of(status.st_ino, attributes, hydrated=True))
            else:
                await self._replace(path, status, attributes)

    async def _replace(self, path: Path, status: os.stat_result, attributes: Attributes) -> None:
        """Put a new placeholder where another node of that kind is, unless somebody works with that one: a dirty one
        comes here only if it is another file, which has other names."""
        record = await self._ledger.get(status.st_ino)
        if attributes.is_regular and record and not record.dirty and self._in_use(path):
            return
        with self._tree.pinned(path):
            # From here on an open for writing of the old node finds that nothing is known of it, and starts anew.
            if status.st_nlink == 1 and not await self._ledger.drop_clean(status.st_ino):
                return
            twin = await self._twins.other(path, attributes)
            with self._tree.keeping_times(parent_of(path)):
                ino = self._tree.replace(path, attributes, twin)
            await self._placed(path, ino, attributes)

    async def _create(self, path: Path, attributes: Attributes) -> None:
        """A second name of a file that the mirror has already becomes a hard link there too."""
        twin = await self._twins.other(path, attributes)
        with contextlib.suppress(Unplaceable):
            with self._tree.keeping_times(parent_of(path)):
                ino = self._tree.create(path, attributes) if twin is None else self._tree.link(twin, path)
            await self._placed(path, ino, attributes)

    async def _placed(self, path: Path, ino: int, attributes: Attributes) -> None:
        await self._ledger.add(record_of(ino, attributes, hydrated=not attributes.is_regular))
        await self._twins.note(attributes.identity, path)

    async def fill(self, path: Path, entries: Sequence[Entry]) -> Collection[bytes]:
        """Placeholders for names of one folder that the mirror lacks, of files without other names; which it made.

        Another session may rename the folder or one above it meanwhile, and remove what has just been made before it
        is on record. What is not there afterwards, in that folder wherever it is by now, is off the record again.
        """
        folder = self._tree.open(path, os.O_PATH)
        try:
            few = len(entries) <= FEW
            records = await briefly(few, self._create_all, path, entries)
            await self._ledger.add(*records.values())
            for record in await briefly(few, _missing, folder, records):
                await self._ledger.drop_clean(record.ino)
            return records.keys()
        finally:
            os.close(folder)

    def _in_use(self, path: Path) -> bool:
        file = self._tree.open(path, os.O_RDONLY)
        try:
            return leases.has_writer(file) or leases.is_locked(file)
        finally:
            os.close(file)

    async def _discard(self, path: Path, status: os.stat_result) -> bool:
        """The remote has no such node: the mirror loses it too, unless something dirty is there or below.

        Whether it is gone. What came to be below it meanwhile stays.
        """
        if not path:
            return False
        found = [status]
        if stat.S_ISDIR(status.st_mode):
            found += await asyncio.to_thread(lambda: [below for _, below in self._tree.walk(path)])
        inos = {each.st_ino for each in found}
        going = Counter(each.st_ino for each in found)
        known = {each.st_ino for each in found if stat.S_ISDIR(each.st_mode) or each.st_nlink == going[each.st_ino]}
        if not await self._ledger.drop_clean(*known):
            return False
        await on_thread(self._tree.prune, path, inos)
        return self._tree.lstat(path) is None

    def _create_all(self, path: Path, entries: Sequence[Entry]) -> dict[bytes, Record]:
        """What to put on record of each name. What cannot have one is left out, rather than the folder with it."""
        nodes = {entry.name: entry.attributes for entry in entries}
        return {
            name: record_of(ino, attributes, hydrated=not attributes.is_regular)
            for name, ino in self._tree.fill(path, list(nodes.items())).items()
            for attributes in (nodes[name],)
        }


def _missing(folder: int, records: Mapping[bytes, Record]) -> list[Record]:
    """Those whose node does not have that name in the folder any more, as far as its mode lets us know."""
    found = making.inodes(folder, list(records))
    return [
        record for record, ino in zip(records.values(), found, strict=True) if ino not in (record.ino, -errno.EACCES)
    ]


def record_of(
    ino: int, attributes: Attributes, *, hydrated: bool, dirty: bool = False, digest: bytes | None = None
) -> Record:
    """What goes on record of a node that agrees with the remote's `attributes`."""
    blocks = attributes.blocks if attributes.blocks is not None else (attributes.size + 4095) // 4096 * 8
    return Record(
        ino=ino,
        version=attributes.version,
        hydrated=hydrated,
        dirty=dirty,
        size=attributes.size,
        mtime_ns=attributes.mtime_ns,
        mode=attributes.mode,
        nlink=attributes.nlink,
        blocks=blocks,
        digest=digest,
        identity=attributes.identity,
    )


def agrees(status: os.stat_result, known: Record | Attributes, capabilities: Capabilities) -> bool:
    """Whether a file or folder has the mode and time that are known of it, as far as the remote keeps them.

    Set-id bits of files are the remote's alone. The time of a folder moves with every name that is made here.
    """
    is_folder = stat.S_ISDIR(status.st_mode)
    modes_differ = capabilities.modes and stat.S_IMODE(status.st_mode ^ known.mode) & ~(0 if is_folder else SET_ID)
    tick = max(capabilities.time_resolution_ns, 1)
    times_differ = capabilities.times and not is_folder and abs(status.st_mtime_ns - known.mtime_ns) >= tick
    return not (modes_differ or times_differ)


def same(status: os.stat_result, record: Record, attributes: Attributes) -> bool:
    return record.version == attributes.version and stat.S_IFMT(status.st_mode) == stat.S_IFMT(attributes.mode)
