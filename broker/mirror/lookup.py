"""Looking names up: what the mirror shows is made to agree with the remote when it is no longer trusted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence

from broker.mirror.ahead import ahead
from broker.mirror.ledger import Ledger
from broker.mirror.placing import Placing, agrees, record_of, same
from broker.mirror.records import Record
from broker.mirror.shared import Generation, Locks
from broker.mirror.tree import GONE, Tree
from broker.mirror.trust import Trust
from broker.remotes.paths import Path, folders_above, join, parent_of
from broker.remotes.protocol import Attributes, Entry, NotADirectory, NotFound, Remote

_TOGETHER = 500
"""Names of a listed folder that are placed and put on record before others may change some there."""
_MISSES_LEAST, _MISSES_SHARE = 8, 20
"""Names of a listed folder that are asked for singly, at least and as a share of all, before it is listed anew."""
_FOLDERS_MOST = 100_000
"""Folders of which that is counted; beyond it, it begins anew for all."""


class Lookup:
    """Placeholders for what the remote has, validated by time.

    A name is trusted when it, or the listing of its folder, was validated at or after the moment that the
    caller asks for.
    """

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        ledger: Ledger,
        locks: Locks,
        generation: Generation,
        trust: Trust,
        placing: Placing,
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._ledger = ledger
        self._locks = locks
        self._generation = generation
        self._trust = trust
        self._misses: dict[Path, tuple[int, int]] = {}
        """Of a listed folder: names asked for singly since, and all names."""
        self._running: dict[tuple[str, Path], asyncio.Future[bool]] = {}
        self._placing = placing

    async def look(self, path: Path, since: float | None = None) -> os.stat_result | None:
        """lstat(2) of the mirror's node at `path`, validated since then (default: within the ttl)."""
        if since is None:
            if not self._trust.trusts(path):
                if path:
                    await self.look(b"")  # no name of a path is the root's, but all ways lead through its mode
                if path and self._worth_listing(parent_of(path)):
                    await self.listing(parent_of(path))
                else:
                    await self._once("look", path, self._validate)
        else:
            # What others have asked for before may be answered by what the remote had then.
            while self._trust.validated(path) < since:
                await self._once("look", path, self._validate)
        return self._tree.lstat(path)

    async def listing(self, path: Path, since: float | None = None) -> None:
        """Make the names in the mirror's folder those of the remote's, each with its placeholder."""
        if not self._trust.trusts_listing(path, since):
            await self._once("list", path, self._list)

    def is_listed(self, path: Path) -> bool:
        """Whether the folder's entries are all in the mirror, so that its link count is right."""
        return self._trust.is_listed(path)

    def known_directory(self, path: Path) -> bool:
        """Whether `path` was seen as a folder within the ttl, so that a walk need not look again."""
        if not self._trust.trusts(path):
            return False
        status = self._tree.lstat(path)
        return status is not None and stat.S_ISDIR(status.st_mode)

    async def learn(
        self, path: Path, attributes: Attributes, *, dirty: bool = False, digest: bytes | None = None
    ) -> None:
        """Put on record that the complete node which the mirror has at `path` is this one of the remote."""
        status = self._tree.lstat(path)
        if status is not None:
            record = record_of(status.st_ino, attributes, hydrated=True, dirty=dirty, digest=digest)
            await self._ledger.put(record)
            self._trust.name(path, time.monotonic())

    async def rebase(self, path: Path, ino: int, attributes: Attributes, *, times: bool = False) -> bool:
        """The remote's version of a node moved because of a change of ours that left its content alone; whether the
        mirror agrees with it now.

        Hold the node's lock. If the content moved nevertheless, because somebody else had changed it before, the
        record stays as it is, and with it the mirror's node out of date. `times`: the change was one of times.
        """
        record = await self._ledger.get(ino)
        if record is None:
            return True
        same = attributes.size == record.size and (times or attributes.mtime_ns == record.mtime_ns)
        if same or not attributes.is_regular:
            fresh = record_of(ino, attributes, hydrated=record.hydrated, dirty=record.dirty, digest=record.digest)
            with contextlib.suppress(OSError):  # the change has happened, also if the ledger cannot be written
                await self._ledger.put(fresh)
                self.agreed(path)
                return True
        self.distrust(path)
        return False

    def agreed(self, path: Path) -> None:
        """What is on record of the node at `path` has just come from the remote: older answers count no more."""
        self._generation.touch_folder(parent_of(path))
        self._trust.name(path, time.monotonic())

    def changed(self, path: Path, *, empty: bool = False) -> None:
        """A name was made or removed here: its own validation counts from now; `empty` for a new folder."""
        self.agreed(path)
        self._forgive(parent_of(path))
        self._trust.drop_listing(path)
        if empty:
            self._trust.listing(path, time.monotonic())

    def forget(self, path: Path) -> None:
        """Trust nothing at or below `path`, a folder, any more."""
        self._trust.forget(path)

    def distrust(self, path: Path) -> None:
        """The remote and the mirror may differ about this name and its folder's listing."""
        self._trust.drop_name(path)
        self._trust.drop_listing(parent_of(path))
        self._generation.touch_folder(parent_of(path))

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

    def _worth_listing(self, folder: Path) -> bool:
        """Whether so many names of a listed folder are asked for that one listing is cheaper than the rest singly."""
        misses, entries = self._misses.get(folder, (0, 0))
        listed = self._trust.is_listed(folder)
        if listed:
            self._misses[folder] = misses + 1, entries
        return listed and misses > _MISSES_LEAST + entries // _MISSES_SHARE

    def _forgive(self, folder: Path) -> None:
        """A name that was asked for because it was about to be made, or to go, says nothing about the others."""
        misses, entries = self._misses.get(folder, (0, 0))
        if misses:
            self._misses[folder] = misses - 1, entries

    async def _once(self, what: str, path: Path, work: Callable[[Path], Awaitable[None]]) -> None:
        """Run `work` once for all who ask for it at the same time.

        Its error is everybody's. If the caller who runs it goes away, the next one runs it anew.
        """
        key = what, path
        while (running := self._running.get(key)) is not None:
            if await asyncio.shield(running):
                return
        running = self._running[key] = asyncio.get_running_loop().create_future()
        try:
            await work(path)
        except asyncio.CancelledError:
            running.set_result(False)
            raise
        except Exception as error:
            running.set_exception(error)
            running.exception()
            raise
        else:
            running.set_result(True)
        finally:
            del self._running[key]

    def moved(self, *nodes: os.stat_result | None) -> None:
        """Nodes get other paths, or have got them. If one is a folder, who has set out from there begins anew."""
        if any(node is not None and stat.S_ISDIR(node.st_mode) for node in nodes):
            self._generation.touch_moves()

    async def arrival(self, path: Path) -> None:
        """Wait while folders on the way to `path` are made or moved, by any session: the remote has them where the
        mirror has them only when that is through."""
        await self._locks.let_pass(*folders_above(path))

    def is_arriving(self, path: Path) -> bool:
        """Whether a folder on the way to `path` is being made or moved."""
        return self._locks.are_held(*folders_above(path))

    async def _validate(self, path: Path) -> None:
        started = time.monotonic()
        attributes, token = await self._ask(path)
        if attributes is None and self._tree.lstat(path) is not None:
            await self.arrival(path)
            attributes, token = await self._ask(path)
        await self._agree(path, attributes, token)
        self._trust.name(path, started)

    async def _ask(self, path: Path) -> tuple[Attributes | None, bytes]:
        """What the remote has at `path`, None for nothing, and the folder's token from before it was asked."""
        token = self._generation.folder(parent_of(path))
        try:
            return await self._remote.stat(path), token
        except (NotFound, NotADirectory):
            return None, token

    async def _agree(self, path: Path, attributes: Attributes | None, token: bytes) -> None:
        """Make the mirror's node at `path` the one that the remote has."""
        if await self._agrees(path, attributes, token):
            return
        async with self.locked(path):
            if self._generation.folder(parent_of(path)) != token:
                # Somebody has changed something there since the remote was asked; as to this name, nobody can now.
                attributes, token = await self._ask(path)
            if not await self._agrees(path, attributes, token):
                before = self._tree.lstat(path)
                with contextlib.suppress(*GONE):
                    await self._placing.settle(path, attributes)
                if before and stat.S_ISDIR(before.st_mode):
                    after = self._tree.lstat(path)
                    if after is None or after.st_ino != before.st_ino:
                        self.forget(path)

    async def _agrees(self, path: Path, attributes: Attributes | None, token: bytes) -> bool:
        """Whether the mirror has what the remote has, or something newer."""
        status = self._tree.lstat(path)
        if status is None:
            return attributes is None
        record = await self._ledger.get(status.st_ino)
        if record is None or attributes is None:
            return record is not None and record.dirty
        if record.dirty:
            return True
        if not same(status, record, attributes):
            return False
        await self._mend(path, status, record, attributes, token)
        return True

    async def _mend(
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

    async def _list(self, path: Path) -> None:
        started = time.monotonic()
        token = self._generation.folder(path)
        seen: set[bytes] = set()
        before = await asyncio.to_thread(self._tree.names, path)
        async with ahead(self._remote.list(path)) as pages:
            async for page in pages:
                seen.update(entry.name for entry in page)
                await self._agree_page(path, page, before, token)
        for name in await asyncio.to_thread(self._tree.names, path):
            if name not in seen:
                await self._agree(join(path, name), None, token)
        await self._agree(path, *await self._ask(path))
        self._trust.name(path, started)
        ended = time.monotonic()
        self._trust.listing(path, ended, ended - started)
        if len(self._misses) > _FOLDERS_MOST:
            self._misses.clear()
        self._misses[path] = 0, len(seen)

    async def _agree_page(self, path: Path, page: Sequence[Entry], before: Collection[bytes], token: bytes) -> None:
        """One page at a time, on a thread: a folder of 100,000 names must not keep other calls waiting. `before`: the
        names that the mirror had when the listing began."""
        known = [entry.name for entry in page if entry.name in before]
        present = await asyncio.to_thread(self._stats, path, known)
        records = await self._ledger.get_many(status.st_ino for status in present.values())
        for entry in page:
            status = present.get(entry.name)
            record = records.get(status.st_ino) if status else None
            if status and not (record and (record.dirty or same(status, record, entry.attributes))):
                await self._agree(join(path, entry.name), entry.attributes, token)
            elif status and record:
                await self._mend(join(path, entry.name), status, record, entry.attributes, token)
        absent = [entry for entry in page if entry.name not in present]
        for start in range(0, len(absent), _TOGETHER):
            some = {join(path, entry.name): entry for entry in absent[start : start + _TOGETHER]}
            await self._place(path, some, token)

    async def _place(self, folder: Path, absent: Mapping[Path, Entry], token: bytes) -> None:
        """Placeholders for names that the mirror lacks: together where nobody has changed a name since the folder was
        listed, or is about to, except for files with other names."""
        left = set(absent)
        async with self._locks.filling(folder) as filling:
            if filling and self._generation.folder(folder) == token:
                alone = [entry for entry in absent.values() if entry.attributes.identity is None]
                left -= {join(folder, name) for name in await self._placing.fill(folder, alone)}
        for path in left:
            await self._agree(path, absent[path].attributes, token)

    def _stats(self, path: Path, names: Sequence[bytes]) -> dict[bytes, os.stat_result]:
        found = {name: self._tree.lstat(join(path, name)) for name in names}
        return {name: status for name, status in found.items() if status is not None}
