"""Write-back: what programs wrote goes to the remote, at close, at fsync and when the last writer is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from broker.mirror import leases
from broker.mirror.closing import Closings
from broker.mirror.content import Progress, Stale, digest_of
from broker.mirror.ledger import Ledger, Record
from broker.mirror.lookup import Lookup, join, parent_of, record_of
from broker.mirror.shared import Locks
from broker.mirror.tree import SET_ID, Tree, changes_of
from broker.remotes.protocol import Path, Remote, RemoteError, VersionChanged

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """A file that programs may be writing: `anchor` is an O_PATH descriptor, which knows the file's path."""

    anchor: int
    watch: int


class WriteBack:
    """The dirty files of one mirror."""

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        ledger: Ledger,
        locks: Locks,
        lookup: Lookup,
        progress: Progress,
        tell: Callable[[str], None],
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._ledger = ledger
        self._locks = locks
        self._lookup = lookup
        self._progress = progress
        self._tell = tell
        self._held: dict[int, Held] = {}
        self._closings = Closings()
        self._tasks: set[asyncio.Task[None]] = set()
        asyncio.get_running_loop().add_reader(self._closings.file, self.drain)

    async def hold(self, file: int) -> None:
        """Before a writable descriptor is handed out: the node is dirty on record, and its last close watched.

        `file` is the open descriptor: who takes the node off the list sees a writer from now on, or was before.
        """
        ino = os.fstat(file).st_ino
        async with self._locks.node(ino):
            record = await self._ledger.get(ino)
            if record is None:
                raise Stale
            if ino not in self._held:
                anchor = os.open(b"/proc/self/fd/%d" % file, os.O_PATH | os.O_CLOEXEC)
                self._held[ino] = Held(anchor, self._closings.watch(file, ino))
            if not record.dirty:
                await self._ledger.put(replace(record, dirty=True, hydrated=True))

    async def push(self, ino: int, *, durable: bool) -> None:
        """Bring the remote up to the mirror's content of a dirty file; its errors are the caller's.

        Nothing is done for a file without a name, or one whose content the remote has already.
        """
        async with self._locks.node(ino):
            record = await self._ledger.get(ino)
            if record is None or not record.dirty:
                return
            path = self._path(ino)
            if path is None:
                return
            file = os.open(self._tree.real(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if os.fstat(file).st_ino == ino:
                    await self._push(path, file, record, durable)
            finally:
                os.close(file)

    async def settle(self, ino: int) -> None:
        """After a close: push, and take the node off the dirty list if nobody can write to it any more."""
        await self.push(ino, durable=False)
        async with self._locks.node(ino):
            record = await self._ledger.get(ino)
            held = self._held.get(ino)
            if record is None or held is None:
                self._release(ino)
                return
            if os.fstat(held.anchor).st_nlink == 0:
                await self._ledger.drop(ino)
                self._release(ino)
                return
            file = os.open(b"/proc/self/fd/%d" % held.anchor, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                if leases.has_writer(file):
                    return
                status = os.fstat(file)
                digest = await asyncio.to_thread(digest_of, file)
                if digest == record.digest and _agrees(status, record):
                    await self._ledger.put(replace(record, dirty=False))
                    self._release(ino)
            finally:
                os.close(file)

    def drain(self) -> None:
        """Start settling what inotify has announced."""
        for ino in self._closings.take():
            for each in [ino] if ino is not None else list(self._held):
                task = asyncio.ensure_future(self._settle_quietly(each))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def flush(self) -> list[Path]:
        """Push all that can be pushed; the paths that stay behind although nobody writes to them any more."""
        self.drain()
        while self._tasks:
            await asyncio.wait(set(self._tasks))
            self.drain()
        await asyncio.gather(*(self._settle_quietly(ino) for ino in list(self._held)))
        return [path for ino in list(self._held) if (path := await self._pending(ino)) is not None]

    async def recover(self) -> list[Path]:
        """Push what an earlier session left dirty and no session has open; the paths that could not be pushed."""
        left = {record.ino for record in await self._ledger.dirty()} - set(self._held)
        if not left:
            return []
        for path, status in await asyncio.to_thread(lambda: list(self._tree.walk())):
            if status.st_ino in left and stat.S_ISREG(status.st_mode):
                left.discard(status.st_ino)
                file = os.open(self._tree.real(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    with contextlib.suppress(Stale):
                        await self.hold(file)
                finally:
                    os.close(file)
        await self._ledger.drop(*left)
        return await self.flush()

    def path_of(self, ino: int) -> Path | None:
        """Where a held file is now."""
        return self._path(ino)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._closings.file)
        for ino in list(self._held):
            self._release(ino)
        self._closings.close()

    async def _push(self, path: Path, file: int, record: Record, durable: bool) -> None:
        status = os.fstat(file)
        digest = await asyncio.to_thread(digest_of, file)
        changes = changes_of(status, owners=self._remote.capabilities.owners)
        changes = replace(changes, mode=stat.S_IMODE(status.st_mode) | record.mode & SET_ID)
        if digest == record.digest and status.st_size == record.size and not durable:
            if _agrees(status, record):
                return
            attributes = await self._remote.set_attributes(path, changes)
        else:
            with self._progress.transfer("pushing", path, status.st_size) as step:
                try:
                    attributes = await self._remote.write(path, file, record.version, changes, durable=durable)
                except VersionChanged:
                    await self._conflict(path, file, record)
                    return
                step(status.st_size)
        await self._ledger.put(record_of(record.ino, attributes, hydrated=True, dirty=True, digest=digest))

    async def _conflict(self, path: Path, file: int, record: Record) -> None:
        """The remote has moved on: both contents are kept, ours beside the remote's under a name of its own."""
        beside = conflict_name(path, socket.gethostname(), time.gmtime())
        changes = changes_of(os.fstat(file), owners=self._remote.capabilities.owners)
        await self._remote.write(beside, file, None, changes)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._tree.real(path))
        await self._ledger.drop(record.ino)
        self._release(record.ino)
        self._lookup.distrust(path)
        self._lookup.distrust(beside)
        shown = path.decode(errors="backslashreplace")
        kept = beside.decode(errors="backslashreplace")
        self._tell(f"{shown} was changed on the remote meanwhile; what was written here is kept as {kept}")

    async def _settle_quietly(self, ino: int) -> None:
        try:
            await self.settle(ino)
        except (RemoteError, OSError) as error:
            self._tell(f"not pushed yet: {error}")

    async def _pending(self, ino: int) -> Path | None:
        record = await self._ledger.get(ino)
        path = self._path(ino)
        if record is None or not record.dirty or path is None:
            return None
        try:
            file = os.open(self._tree.real(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            return None if leases.has_writer(file) else path
        finally:
            os.close(file)

    def _path(self, ino: int) -> Path | None:
        """The kernel knows where a held file is now, whatever was renamed since."""
        held = self._held.get(ino)
        if held is None:
            return None
        path = self._tree.relative(os.readlink(b"/proc/self/fd/%d" % held.anchor))
        if path is not None and os.fstat(held.anchor).st_nlink > 0:
            status = self._tree.lstat(path)
            if status is not None and status.st_ino == ino:
                return path
            return self._tree.find(ino)
        return None

    def _release(self, ino: int) -> None:
        held = self._held.pop(ino, None)
        if held is not None:
            self._closings.unwatch(held.watch)
            os.close(held.anchor)


def _agrees(status: os.stat_result, record: Record) -> bool:
    """Whether the attributes are those on record; set-id bits are the remote's alone."""
    modes_differ = stat.S_IMODE(status.st_mode ^ record.mode) & ~SET_ID
    return status.st_mtime_ns == record.mtime_ns and not modes_differ


def conflict_name(path: Path, host: str, moment: time.struct_time) -> Path:
    """``NAME.conflict-HOST-TIME`` beside `path`, cut so that the name stays within NAME_MAX."""
    mark = b".conflict-%s-%s" % (host.encode()[:64], time.strftime("%Y%m%dT%H%M%SZ", moment).encode())
    name = path.rpartition(b"/")[2]
    return join(parent_of(path), name[: 255 - len(mark)] + mark)
