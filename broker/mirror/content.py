"""Fetching: a file's content is in the mirror before anybody gets a descriptor of it."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from msgspec.structs import replace

from broker.mirror.digests import CHUNK, Digest, digest_of
from broker.mirror.ledger import Ledger
from broker.mirror.nodes import reopen
from broker.mirror.records import Record
from broker.mirror.shared import Locks
from broker.mirror.threads import SMALL, briefly
from broker.mirror.vouching import Vouch
from broker.remotes.paths import Path
from broker.remotes.protocol import BadAnswer, NotFound, Remote, Step, VersionChanged, unseen

_HOLE = bytes(64 << 10)
"""Runs of zeros of this length stay holes."""
_OPENED_BY_OTHERS = 10.0
"""Seconds for which those who answer for the mirror may open a file: so much too early may its last use be noted."""
_FULL = errno.ENOSPC, errno.EDQUOT

Tell = Callable[[Path, str], None]
"""Tells the user something about a file, as a sentence that begins with its path."""


class Stale(Exception):
    """The node is no longer what was looked up; look it up again."""


class Progress(Protocol):
    """Told of long transfers."""

    def transfer(self, what: str, path: Path, total: int) -> contextlib.AbstractContextManager[Step]: ...


class Room(Protocol):
    """Makes room in the cache."""

    def fetched(self, size: int) -> None:
        """So many bytes came into the cache."""
        ...

    async def make_room(self, size: int, *, full: bool = False) -> bool:
        """Before so many bytes are fetched; `full`: the disk has no room for them. Whether any came free."""
        ...

    def spend_reserve(self) -> bool:
        """Free what was put by for what has to be put on record of a full disk; whether there was anything."""
        ...


class Endless:
    """A cache that needs no room to be made."""

    def fetched(self, size: int) -> None: ...

    async def make_room(self, size: int, *, full: bool = False) -> bool:
        return False

    def spend_reserve(self) -> bool:
        return False


class Quiet:
    """The progress that nobody looks at."""

    @contextlib.contextmanager
    def transfer(self, what: str, path: Path, total: int) -> Iterator[Step]:
        yield unseen


class Content:
    """The content of the regular files of one mirror."""

    def __init__(
        self, remote: Remote, ledger: Ledger, locks: Locks, progress: Progress, tell: Tell, room: Room, vouch: Vouch
    ) -> None:
        self._remote = remote
        self._ledger = ledger
        self._locks = locks
        self._progress = progress
        self._tell = tell
        self._room = room
        self._vouch = None if remote.witness is None else vouch

    async def require(self, path: Path, file: int) -> Record:
        """Have the whole content behind `file`, a descriptor of the mirror's node at `path`; what is on record.

        The descriptor is open before the record is looked at: whoever empties a file for room makes sure first
        that nobody has it open. Stale when the remote has another version by now.
        """
        status = os.fstat(file)
        ino = status.st_ino
        record = self._ledger.peek(ino) or await self._ledger.get(ino)
        if record is None:
            raise Stale
        if record.hydrated and not _is_hollow(status, record):
            if self._vouch and not record.dirty:
                self._vouch.complete(ino, record.version, time.monotonic() + _OPENED_BY_OTHERS)
            return record
        async with self._locks.node(ino):
            record = await self._ledger.get(ino)
            if record is None:
                raise Stale
            if not record.hydrated or _is_hollow(os.fstat(file), record):
                record = await self._complete(path, file, record)
                await self._ledger.put(record)
                self._room.fetched(record.size)
        return record

    async def _complete(self, path: Path, file: int, record: Record) -> Record:
        """The record of a file whose content is there: it was all the time, or comes now."""
        status = os.fstat(file)
        if status.st_blocks and record.digest and not record.is_bent(status):
            source = reopen(file, os.O_RDONLY)
            try:
                if await digest_of(source) == record.digest:
                    return replace(record, hydrated=True)
            finally:
                os.close(source)
        await self._room.make_room(record.size)
        record = await self._fetch(path, file, record)
        return replace(record, blocks=min(record.blocks, os.fstat(file).st_blocks))

    async def _fetch(self, path: Path, file: int, record: Record) -> Record:
        target = reopen(file, os.O_WRONLY)
        try:
            # An open with O_TRUNC that came to nothing may have left it shorter.
            os.ftruncate(target, record.size)
            digest = Digest()
            offset = 0
            with self._progress.transfer("fetching", path, record.size) as step:
                while offset < record.size:
                    data = await self._read(path, record, offset)
                    await briefly(len(data) <= SMALL, digest.update, data)
                    await self._store(target, data, offset)
                    offset += len(data)
                    step(len(data))
        except BaseException:
            # Half a content serves nobody, and is on no list of what may be evicted: it would fill the disk for good.
            with contextlib.suppress(OSError):
                _cut(target, 0)
            raise
        finally:
            os.utime(target, ns=(os.fstat(target).st_atime_ns, record.mtime_ns))
            os.close(target)
        return replace(record, hydrated=True, digest=digest.digest())

    async def _store(self, target: int, data: bytes, offset: int) -> None:
        """On a full disk other content makes room, as long as there is any."""
        while True:
            try:
                return await briefly(len(data) <= SMALL, _store, target, data, offset)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                _cut(target, offset)  # to say what is evicted takes room, too
                if not await self._room.make_room(len(data), full=True):
                    raise

    async def _read(self, path: Path, record: Record, offset: int) -> bytes:
        """The next bytes; with the last of them one more is asked for, which must not be there."""
        left = record.size - offset
        try:
            data = await self._remote.read(path, record.version, offset, CHUNK if left > CHUNK else left + 1)
        except (VersionChanged, NotFound) as error:
            raise Stale from error
        if not data or len(data) > left:
            wrong = f"the remote has {record.size} bytes by its listing but not by its content"
            self._tell(path, f"is refused: {wrong}")
            raise BadAnswer(path, wrong)
        return data


def _store(file: int, data: bytes, offset: int) -> None:
    """Write all but the holes: the placeholder is one hole of the right size."""

    def is_hole(start: int) -> bool:
        return data.startswith(_HOLE[: len(data) - start], start)

    for hole, blocks in itertools.groupby(range(0, len(data), len(_HOLE)), is_hole):
        if not hole:
            run = list(blocks)
            _write_all(file, memoryview(data)[run[0] : run[-1] + len(_HOLE)], offset + run[0])


def _cut(file: int, offset: int) -> None:
    """Make all from `offset` on a hole again."""
    size = os.fstat(file).st_size
    os.ftruncate(file, offset)
    os.ftruncate(file, size)


def _write_all(file: int, block: memoryview, offset: int) -> None:
    while block:
        written = os.pwrite(file, block, offset)
        block, offset = block[written:], offset + written


def _is_hollow(status: os.stat_result, record: Record) -> bool:
    """Whether a clean file has lost its content: the ledger that says it is complete is older than that."""
    return status.st_size > 0 == status.st_blocks and record.blocks > 0 and not record.dirty
