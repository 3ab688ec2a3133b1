"""Recovery: what killed sessions have left half done is taken back or finished, what is not pushed is pushed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import Iterator, Mapping, Set
from itertools import islice

from msgspec.structs import replace

from broker.mirror.boot import Boot
from broker.mirror.clearing import clear
from broker.mirror.conflicts import write_beside
from broker.mirror.content import Tell
from broker.mirror.ledger import Ledger
from broker.mirror.marks import Marks
from broker.mirror.nodes import changes_of
from broker.mirror.records import Record
from broker.mirror.shared import Generation, Locks
from broker.mirror.stash import Stash
from broker.mirror.tree import Tree
from broker.mirror.writeback import WriteBack
from broker.remotes.paths import Path
from broker.remotes.protocol import NotADirectory, NotFound, Remote, RemoteError, Version

_TOGETHER = 16
"""Files that are pushed at a time. Each costs descriptors as long as it is."""
_FAILURES = 64
"""Pushes that fail before the others are left for later: the remote is away."""
_BEGINNING = 0
"""The lock of sessions that begin, of which one at a time prepares the mirror: the number of no node."""

Found = tuple[Path, int, os.stat_result]
"""A file of the tree, with its inode number and its lstat."""


class Recovery:
    """Of one mirror, by one of its sessions; others may be at work in it."""

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        ledger: Ledger,
        locks: Locks,
        generation: Generation,
        marks: Marks,
        writeback: WriteBack,
        tell: Tell,
        salvaged: Mapping[int, Version] | None,
    ) -> None:
        """`salvaged` is what a ledger that could not be used has said of dirty files; None if it could."""
        self._remote = remote
        self._tree = tree
        self._ledger = ledger
        self._locks = locks
        self._generation = generation
        self._marks = marks
        self._writeback = writeback
        self._tell = tell
        self._salvaged = salvaged
        self._stash = Stash(tree)
        self._running: asyncio.Task[set[int]] | None = None

    async def prepare(self) -> None:
        """Before the mirror is used: what killed sessions have left half done is not taken for what it is not."""
        async with self._locks.node(_BEGINNING):
            await self._prepare()

    async def _prepare(self) -> None:
        boot = Boot(os.path.dirname(self._tree.staging))
        if boot.is_new():
            await self._ledger.doubt()  # what was fetched shortly before the power was lost may be on record alone
            boot.note()
        for kept, ino, path in self._stash.left():
            await self._put_back(kept, ino, path)
        left = {**(self._salvaged or {}), **self._marks.left()}
        found = await self._mark_dirty(left) if left else 0
        if self._salvaged is not None and (await clear(self._tree, self._ledger, self._locks) or found):
            what = f"files that had not been pushed and were found: {found}"
            self._tell(b"", f"has lost the record of its local copies, which are fetched again; {what}")

    def start(self) -> None:
        """Begin to push what earlier sessions have left, as `recover` does."""
        self._running = asyncio.ensure_future(self._push_left())

    async def finish(self) -> list[Path]:
        """Wait for the end of what was started, and push what is left of it and of this session; as `recover`."""
        behind: set[int] = set()
        if self._running is not None:
            try:
                behind = await self._running
            except (OSError, RemoteError) as error:
                todo = "run seccomp-drive sync with the same -p and -m"
                self._tell(b"", f"may have files that an earlier session has not pushed: {error}; {todo}")
        return sorted({*await self._untried(behind), *await self._writeback.flush()})

    async def recover(self) -> list[Path]:
        """Push what an earlier session left dirty and no session has open; the paths that could not be pushed."""
        began = time.monotonic()
        behind = await self._push_left()
        return sorted({*await self._untried(behind), *await self._writeback.flush(began)})

    async def _push_left(self) -> set[int]:
        """The inode numbers of what could not be pushed."""
        left = {record.ino for record in await self._ledger.dirty()} - self._writeback.held()
        behind: set[int] = set()
        walk = self._search(left)
        while left and (batch := await asyncio.to_thread(_some, walk)):
            await self._push(batch, left, behind)
        found = await self._find_or_drop(left) if left else []
        for start in range(0, len(found), _TOGETHER):
            await self._push(found[start : start + _TOGETHER], left, behind)
        return behind | left

    async def _find_or_drop(self, left: Set[int]) -> list[Found]:
        """What was renamed so that it has escaped the first walk. What has no file any more goes off the record.

        Whoever renames a dirty file or a folder above it holds the file's lock: no file escapes this walk.
        """
        async with contextlib.AsyncExitStack() as stack:
            for ino in sorted(left):
                await stack.enter_async_context(self._locks.node(ino))
            closed: list[Path] = []
            found = await asyncio.to_thread(lambda: list(self._search(left, closed)))
            gone = left - {ino for _, ino, _ in found} - {ino for _, ino, _ in self._stash.left()}
            if self._generation.alone() and not closed:
                await self._ledger.drop(*gone - self._writeback.held())
        return found

    async def _untried(self, behind: set[int]) -> list[Path]:
        """Where the files are now that nobody looks after, less those that were removed or pushed meanwhile."""
        dirty = {record.ino for record in await self._ledger.dirty()}
        wanted = (behind & dirty) - self._writeback.held()
        if not wanted:
            return []
        paths = await asyncio.to_thread(lambda: {ino: path for path, ino, _ in self._search(wanted)})
        return list(paths.values())

    async def _push(self, batch: list[Found], left: set[int], behind: set[int]) -> None:
        """Take from `left` what is still there, and add to `behind` what was not pushed: after many none is tried."""
        if len(behind) >= _FAILURES:
            pushed: list[bool | None] = [False] * len(batch)
        else:
            pushed = await asyncio.gather(*(self._writeback.recover(path, ino) for path, ino, _ in batch))
        for (_, ino, _), done in zip(batch, pushed, strict=True):
            if done is not None:
                left.discard(ino)
            if done is False:
                behind.add(ino)

    async def _put_back(self, kept: bytes, ino: int, path: Path | None) -> None:
        """What a call was about to remove: if the remote has it still, and not all of it, it is needed."""
        async with self._locks.attempt(ino) as mine:
            if not mine:
                return  # the call is on its way, in another session
            if not _is(kept, ino):
                return  # it has ended since, and the number may be a new file's
            record = await self._ledger.get(ino)
            if record is None or not record.dirty or path is None:
                await self._drop_kept(kept, ino)
                return
            try:
                there = (await self._remote.stat(path)).version == record.version
            except (NotFound, NotADirectory):
                there = False
            except RemoteError:
                return  # for the next session
            if not there:
                await self._drop_kept(kept, ino)
            elif self._tree.lstat(path) is None:
                self._stash.give_back(kept, path)
            else:
                await self._keep_beside(kept, path, record)

    async def _keep_beside(self, kept: bytes, path: Path, record: Record) -> None:
        """A rename was killed half-way, and its file has the name here already."""
        file = os.open(kept, os.O_RDONLY | os.O_CLOEXEC)
        try:
            changes = changes_of(os.fstat(file), owners=self._remote.capabilities.owners)
            beside, _ = await write_beside(self._remote, path, file, changes)
        except RemoteError:
            return
        finally:
            os.close(file)
        await self._drop_kept(kept, record.ino)
        name = beside.rpartition(b"/")[2].decode(errors="backslashreplace")
        self._tell(path, f"was being replaced when its session was killed; what it had not pushed is kept as {name}")

    async def _drop_kept(self, kept: bytes, ino: int) -> None:
        """Its record goes as well, unless the file has other names, by which somebody may be writing it."""
        if os.lstat(kept).st_nlink == 1:
            self._stash.empty(kept)
            await self._ledger.drop(ino)
        self._stash.drop(kept)

    async def _mark_dirty(self, left: Mapping[int, Version]) -> int:
        """Put on record again as dirty what a session has noted as that, where the ledger knows less; how many."""
        records = await self._ledger.get_many(left)
        agreed = {ino for ino, record in records.items() if record.hydrated and record.version == left[ino]}
        unsure = left.keys() - agreed
        found = 0
        for ino in agreed:
            if not records[ino].dirty:
                await self._dirty_again(records[ino], left[ino])
        walk = self._search(unsure)
        while unsure and (batch := await asyncio.to_thread(_some, walk)):
            for path, ino, _ in batch:
                unsure.discard(ino)
                record = records.get(ino)
                if record is not None and record.hydrated:
                    await self._dirty_again(record, await self._newer(path, record.version, left[ino]))
                else:
                    found += await self._salvage(path, ino, left[ino])
        for ino in unsure:
            self._marks.clear(ino)
        return found

    async def _dirty_again(self, record: Record, base: Version) -> None:
        """Unless a session that is at work has evicted or pushed the content since its record was read."""
        async with self._locks.node(record.ino):
            now = await self._ledger.get(record.ino)
            if now is not None and now.hydrated and now.version == record.version:
                await self._ledger.put(replace(now, dirty=True, version=base))

    async def _salvage(self, path: Path, ino: int, noted: Version) -> bool:
        """Put a file on record that the ledger knows no content of, if it can have any; whether it can."""
        # With the name's lock: a session that makes a file there has put it on record by the time it gives that back.
        async with self._locks.names(path), self._locks.node(ino):
            status = self._tree.lstat(path)
            if status is None or status.st_ino != ino:
                return False
            if not _has_content(status, await self._ledger.get(ino), noted):
                self._marks.clear(ino)
                return False
            await self._ledger.put(_dirty(status, noted))
            return True

    async def _newer(self, path: Path, recorded: Version, noted: Version) -> Version:
        """Which of two versions the content is based on: a kill leaves the note behind, a lost log the record."""
        with contextlib.suppress(RemoteError):
            if (await self._remote.stat(path)).version == noted:
                return noted
        return recorded

    def _search(self, inos: Set[int], closed: list[Path] | None = None) -> Iterator[Found]:
        walk = self._tree.walk(closed=closed)
        return ((path, status.st_ino, status) for path, status in walk if status.st_ino in inos)


def _is(real: bytes, ino: int) -> bool:
    try:
        return os.lstat(real).st_ino == ino
    except FileNotFoundError:
        return False


def _some(walk: Iterator[Found]) -> list[Found]:
    return list(islice(walk, _TOGETHER))


def _has_content(status: os.stat_result, record: Record | None, version: Version) -> bool:
    """Whether a file that was noted as dirty can be: a placeholder may have got its number since."""
    if not stat.S_ISREG(status.st_mode) or status.st_size > 0 == status.st_blocks:
        return False
    return record is None or (record.version == version and record.is_bent(status))


def _dirty(status: os.stat_result, version: Version) -> Record:
    return Record(
        status.st_ino,
        version,
        hydrated=True,
        dirty=True,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        mode=status.st_mode,
        nlink=status.st_nlink,
        blocks=status.st_blocks,
    )
