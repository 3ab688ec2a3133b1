"""Write-back: what programs wrote goes to the remote, at close, at fsync and when the last writer is gone."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import time
from collections.abc import AsyncIterator

from msgspec import Struct
from msgspec.structs import replace

from broker.mirror import leases
from broker.mirror.closing import Closings
from broker.mirror.content import Stale, Tell
from broker.mirror.ledger import Ledger
from broker.mirror.nodes import SET_ID, reopen
from broker.mirror.pushing import Pushing
from broker.mirror.retries import Retries
from broker.mirror.setid import NOBODY, Writer
from broker.mirror.shared import Locks
from broker.mirror.tree import GONE, Tree
from broker.remotes.paths import Path
from broker.remotes.protocol import RemoteError

_ROUNDS = 5
"""How often all is gone through at the end, because another session goes on writing."""


class Held(Struct, frozen=True):
    """A file that programs may be writing: `anchor` is an O_PATH descriptor, which knows the file's path."""

    anchor: int
    watch: int


class WriteBack:
    """The dirty files of one mirror."""

    def __init__(
        self,
        pushing: Pushing,
        tree: Tree,
        ledger: Ledger,
        locks: Locks,
        tell: Tell,
    ) -> None:
        self._pushing = pushing
        self._tree = tree
        self._ledger = ledger
        self._locks = locks
        self._tell = tell
        self._held: dict[int, Held] = {}
        self._closings = Closings()
        self._tasks: set[asyncio.Task[None]] = set()
        self._retries = Retries(self.settle_soon)
        self.left_open: set[Path] = set()
        """Files of earlier sessions that were not pushed, because somebody can still write to them."""
        asyncio.get_running_loop().add_reader(self._closings.file, self.drain)

    async def hold(self, file: int, writer: Writer = NOBODY) -> None:
        """Before a writable descriptor is handed out: the node is dirty on record, and its last close watched.

        `file` is the open descriptor: who takes the node off the list sees a writer from now on, or was before.
        """
        async with self.holding(file, writer):
            pass

    @contextlib.asynccontextmanager
    async def holding(self, file: int, writer: Writer = NOBODY, *, spared: bool = False) -> AsyncIterator[None]:
        """As `hold`, for a change made in this context, where `file` cannot write and nobody sees a writer.

        `spared`: it is a truncation, for which nothing was fetched. Stale if the file is no regular one.
        """
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise Stale
        ino = status.st_ino
        async with self._locks.node(ino):
            if ino not in self._held:
                anchor = os.open(b"/proc/self/fd/%d" % file, os.O_PATH | os.O_CLOEXEC)
                try:
                    self._held[ino] = Held(anchor, self._closings.watch(file, ino))
                except BaseException:
                    os.close(anchor)
                    raise
            record = await self._ledger.get(ino)
            if spared and record is not None and not record.hydrated:
                # Before the placeholder counts as complete, so that its zeros never do.
                os.truncate(b"/proc/self/fd/%d" % file, 0)
            if record is None or not (record.dirty and record.hydrated):
                record = await self._ledger.mark_dirty(ino)
            if record is None:
                self._release(ino)
                raise Stale
            self._pushing.set_ids.opened(record, os.fstat(file).st_gid, writer)
            yield

    async def shed_set_id(self, ino: int) -> None:
        """A file was truncated, in `holding`: what that takes of its set-id bits is gone at once."""
        record = await self._ledger.get(ino)
        if record is not None and record.mode & SET_ID != self._pushing.set_ids.left(record):
            await self._ledger.put(replace(record, mode=record.mode & ~SET_ID | self._pushing.set_ids.left(record)))

    async def push(self, ino: int, *, durable: bool) -> bool:
        """Bring the remote up to the mirror's content of a dirty file; its errors are the caller's.

        Nothing is done for a file without a name, or one whose content the remote has already: whether it was sent.
        """
        async with self._locks.node(ino):
            return await self.push_locked(ino, durable)

    async def adopt(self, path: Path, ino: int) -> None:
        """Look after a dirty file at `path` that was opened by another session, whose descriptor came to us."""
        if ino not in self._held:
            record = await self._ledger.get(ino)
            if record is not None and record.dirty:
                await self._resume(path, ino)

    async def settle(self, ino: int, *, unfinished: bool = False) -> None:
        """After a close: push, and take the node off the dirty list.

        Not while somebody can still write to it, who may be half-way through: his own close is for him to push, and
        the last one is announced again. `unfinished`: push what he has written so far nevertheless.
        """
        async with self._locks.node(ino):
            held = self._held.get(ino)
            if held is None:
                return
            if os.fstat(held.anchor).st_nlink == 0:
                self._tree.require_present()
                await self._ledger.drop(ino)
                self._release(ino)
                return
            written = self._has_writer(held.anchor)
            if written and not unfinished:
                return
            await self.push_locked(ino, durable=False)
            record = await self._ledger.get(ino)
            # Whoever opens the file for writing meanwhile waits for the node's lock in `hold`.
            if not written and (record is None or self._pushing.agrees(os.fstat(held.anchor), record)):
                if record is not None:
                    await self._ledger.put(replace(record, dirty=False))
                self._release(ino)

    def drain(self) -> None:
        """Start settling what inotify has announced."""
        for ino in self._closings.take():
            for each in [ino] if ino is not None else list(self._held):
                self.settle_soon(each)

    def settle_soon(self, ino: int) -> None:
        task = asyncio.ensure_future(self._settle_quietly(ino))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def flush(self, since: float | None = None) -> list[Path]:
        """Push all that can be pushed; the paths that stay behind although nobody writes to them any more. The root
        stands for files of a mirror that was removed.

        What has failed since then, by time.monotonic(), is not tried again (default: from now on).
        """
        began = time.monotonic() if since is None else since
        self.drain()
        while self._tasks:
            await asyncio.wait(set(self._tasks))
            self.drain()
        for _ in range(_ROUNDS):
            untried = [ino for ino in list(self._held) if not self._retries.has_failed(ino, began)]
            await asyncio.gather(*(self._settle_quietly(ino, unfinished=True) for ino in untried))
            left = {ino: path for ino in list(self._held) if (path := await self._pending(ino)) is not None}
            if all(self._retries.has_failed(ino, began) for ino in left):
                break  # else another session has written meanwhile, and is about to push that
        return list(left.values())

    async def sync(self) -> None:
        """syncfs(2): push all, also what is still being written; EIO when something could not be."""
        began = time.monotonic()
        await self.flush()
        if self._retries.have_failed(began):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    @property
    def count(self) -> int:
        """Of the files that are dirty as far as this session knows; from any thread."""
        return len(self._held)

    def unpushed(self) -> list[Path]:
        """The files that are dirty as far as this session knows, where they are now."""
        anchors = [held.anchor for held in list(self._held.values()) if os.fstat(held.anchor).st_nlink]
        paths = [self._tree.relative(os.readlink(b"/proc/self/fd/%d" % anchor)) for anchor in anchors]
        return [path for path in paths if path is not None]

    def held(self) -> set[int]:
        """The inode numbers of what this session looks after."""
        return set(self._held)

    async def recover(self, path: Path, ino: int) -> bool | None:
        """Push a dirty file that an earlier session has left at `path`; None if it is no longer there."""
        try:
            if not await self._resume(path, ino, unless_written=True):
                return None
        except OSError as error:
            self._tell(path, f"is not pushed yet: {error.strerror}")
            return False
        await self._settle_quietly(ino, unfinished=True)
        return ino not in self._retries

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._closings.file)
        self._retries.close()
        for task in self._tasks:
            task.cancel()
        for ino in list(self._held):
            self._release(ino)
        self._closings.close()

    async def _resume(self, path: Path, ino: int, *, unless_written: bool = False) -> bool:
        """Take over a dirty file that is still at `path`; with `unless_written` not one that a session is writing."""
        try:
            file = self._tree.open(path, os.O_PATH)
        except GONE:
            return False
        try:
            status = os.fstat(file)
            if status.st_ino != ino:
                return False
            if not stat.S_ISREG(status.st_mode):  # earlier versions took a FIFO that was truncated for dirty
                record = await self._ledger.get(ino)
                if record is not None:
                    await self._ledger.put(replace(record, dirty=False))
                return True
            if unless_written and await self._is_written(file, ino):
                self.left_open.add(path)
                return True
            with contextlib.suppress(Stale):
                await self.hold(file)
            return True
        finally:
            os.close(file)

    async def push_locked(self, ino: int, durable: bool) -> bool:
        """As `push`, for who holds the node's lock."""
        record = await self._ledger.get(ino)
        if record is None or not record.dirty:
            return False
        path = await self._path(ino)
        if path is None:
            self._tree.require_present()
            return False
        file = reopen(self._held[ino].anchor, os.O_RDONLY)
        try:
            return await self._pushing.push(path, file, record, durable)
        finally:
            os.close(file)

    async def _settle_quietly(self, ino: int, *, unfinished: bool = False) -> None:
        try:
            await self.settle(ino, unfinished=unfinished)
        except (RemoteError, OSError, MemoryError) as error:
            if ino not in self._retries:
                again = "" if self._tree.is_removed else "; it is tried again"
                self._tell(await self._path(ino) or b"", f"is not pushed yet: {_reason(error)}{again}")
            self._retries.failed(ino)
        else:
            self._retries.succeeded(ino)

    async def _pending(self, ino: int) -> Path | None:
        async with self._locks.node(ino):
            record = await self._ledger.get(ino)
            path = await self._path(ino)
            if record is None or not record.dirty:
                return None
            if path is None:
                return b"" if self._tree.is_removed else None
            return None if self._has_writer(self._held[ino].anchor) else path

    async def _is_written(self, node: int, ino: int) -> bool:
        async with self._locks.node(ino):
            return self._has_writer(node)

    @staticmethod
    def _has_writer(node: int) -> bool:
        file = reopen(node, os.O_RDONLY)
        try:
            return leases.has_writer(file)
        finally:
            os.close(file)

    async def _path(self, ino: int) -> Path | None:
        """Where a held file is now: the kernel knows, whatever was renamed since."""
        held = self._held.get(ino)
        if held is None or os.fstat(held.anchor).st_nlink == 0:
            return None
        path = self._tree.name_of(held.anchor)
        if path is not None:
            return path
        # It was opened by another of its names, which is gone.
        return await asyncio.to_thread(self._tree.find, ino)

    def _release(self, ino: int) -> None:
        held = self._held.pop(ino, None)
        if held is not None:
            self._closings.unwatch(held.watch)
            self._pushing.forget(ino)
            os.close(held.anchor)


def _reason(error: RemoteError | OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    return str((error.detail if isinstance(error, RemoteError) else error.strerror) or error)
