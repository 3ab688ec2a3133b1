"""One push: a file's content and attributes replace those that the remote had, or go beside what it has by now."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time

from msgspec.structs import replace

from broker.mirror.conflicts import Fingerprint, arrived, write_beside
from broker.mirror.content import Progress, Tell
from broker.mirror.digests import digest_of
from broker.mirror.ledger import Ledger
from broker.mirror.lookup import Lookup
from broker.mirror.nodes import SET_ID, changes_of, clamp_times
from broker.mirror.placing import agrees, record_of
from broker.mirror.records import Record
from broker.mirror.setid import SetIds
from broker.mirror.tree import GONE, Tree
from broker.remotes.paths import Path, parent_of
from broker.remotes.protocol import (
    Attributes,
    Changes,
    Forbidden,
    NotADirectory,
    NotFound,
    Remote,
    Step,
    VersionChanged,
)
from broker.telling import shown

_ATTEMPTS = 3
"""How often a file is pushed at most that the remote does not have as it should be, before that is a conflict."""
_PATIENCE, _PAUSE_FIRST = 10.0, 0.002
"""Seconds that a folder on the way is waited for, and before the second look."""


class Pushing:
    """Pushes to one remote, and what is on record of them afterwards."""

    def __init__(
        self, remote: Remote, tree: Tree, ledger: Ledger, lookup: Lookup, progress: Progress, tell: Tell
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._ledger = ledger
        self._lookup = lookup
        self._progress = progress
        self._tell = tell
        self.set_ids = SetIds()
        self._unsure: dict[int, set[Fingerprint]] = {}
        """What the remote may have of a file by pushes whose outcome is unknown."""

    async def push(self, path: Path, file: int, record: Record, durable: bool) -> bool:
        """Give the remote the content and the attributes behind `file`, if it has others; whether it had another
        content, so that this is `durable` now. Hold the node's lock."""
        status = clamp_times(file)
        digest = await digest_of(file)
        changes = self._changes(status, record, written=digest != record.digest)
        if digest == record.digest and status.st_size == record.size:
            if not self.agrees(status, record):
                await self._push_attributes(path, file, status, record, changes)
            return False
        content = status.st_size, digest
        with self._progress.transfer("pushing", path, status.st_size) as step:
            for _ in range(_ATTEMPTS):
                written = await self._write(path, file, record, content, changes, durable, step)
                if written is not None or (moved := await self._moved(path, file)) is None:
                    break
                path = moved
        known = digest if _same_times(status, os.fstat(file)) else None
        if written is None:
            await self._conflict(path, file, record, known)
        else:
            await self._pushed(path, record, written, known)
        return True

    async def _push_attributes(
        self, path: Path, file: int, status: os.stat_result, record: Record, changes: Changes
    ) -> None:
        """The content is as it was; if it is somebody else's on the remote by now, the attributes are his as well.

        They also are of a file that the user may write to but does not own.
        """
        with contextlib.suppress(NotFound, NotADirectory, Forbidden, VersionChanged):
            try:
                attributes = await self._remote.set_attributes(path, changes, record.version)
            except (NotFound, VersionChanged):
                path = await self._moved(path, file) or path
                attributes = await self._remote.set_attributes(path, changes, record.version)
            await self._pushed(path, record, attributes, record.digest)
            return
        await self._ledger.put(replace(record, mode=status.st_mode, mtime_ns=status.st_mtime_ns))
        self._lookup.distrust(path)

    async def _moved(self, path: Path, file: int) -> Path | None:
        """Where the remote has the file after all, if a folder on its way is being moved: here that comes first.

        Whoever moves it needs no lock of the file's any more, but the next one does: so the remote is asked again and
        again, rather than once when nothing moves. None if it lacks the file for good.
        """
        pause, give_up = _PAUSE_FIRST, time.monotonic() + _PATIENCE
        while (here := self._tree.name_of(file)) is not None and time.monotonic() < give_up:
            moving = here != path or self._lookup.is_arriving(here)
            with contextlib.suppress(NotFound, NotADirectory):
                await self._remote.stat(here)
                return here
            if not moving:
                break
            path = here
            await asyncio.sleep(pause)
            pause *= 2
        return None

    async def _write(
        self, path: Path, file: int, record: Record, content: Fingerprint, changes: Changes, durable: bool, step: Step
    ) -> Attributes | None:
        """Write over the version on record, or over the same content at another version, or over what an earlier push
        of ours has made of it, whose answer was lost. None if the remote has anything else."""
        unsure = self._unsure.setdefault(record.ino, set())
        unsure.add(content)
        try:
            return await self._remote.write(path, file, record.version, changes, durable=durable, step=step)
        except VersionChanged:
            # Where it is what we began with, only its name or attributes have changed.
            base = {(record.size, record.digest)} if record.digest else set()
            theirs = await arrived(self._remote, path, unsure | base)
        if theirs is None or theirs[1] == content:
            if theirs and durable:
                await self._remote.sync(path)
            return theirs and theirs[0]
        return await self._remote.write(path, file, theirs[0].version, changes, durable=durable, step=step)

    async def _pushed(self, path: Path, record: Record, attributes: Attributes, digest: bytes | None) -> None:
        await self._ledger.put(record_of(record.ino, attributes, hydrated=True, dirty=True, digest=digest))
        self._unsure.pop(record.ino, None)
        self._lookup.agreed(path)

    async def _conflict(self, path: Path, file: int, record: Record, digest: bytes | None) -> None:
        """The remote has moved on: both contents are kept, ours beside the remote's under a name of its own.

        The mirror's node moves there: what is still open for writing goes on being pushed to that name.
        """
        changes = self._changes(os.fstat(file), record, written=True)
        beside, attributes = await write_beside(self._remote, path, file, changes)
        there = self._tree.lstat(beside)
        with self._tree.pinned(beside):
            if there is not None:
                await self._ledger.drop(there.st_ino)
            with contextlib.suppress(*GONE), self._tree.keeping_times(parent_of(path)):
                self._tree.move(path, beside)
        await self._pushed(beside, record, attributes, digest)
        self._lookup.distrust(path)
        kept = shown(beside.rpartition(b"/")[2])
        self._tell(path, f"was changed on the remote meanwhile; what was written here is kept beside it as {kept}")

    def _changes(self, status: os.stat_result, record: Record, *, written: bool) -> Changes:
        changes = changes_of(status, owners=self._remote.capabilities.owners)
        set_id = self.set_ids.left(record) if written else record.mode & SET_ID
        return replace(changes, mode=stat.S_IMODE(status.st_mode) | set_id)

    def forget(self, ino: int) -> None:
        """Nothing of it is to be pushed any more, and the number may be another file's."""
        self._unsure.pop(ino, None)
        self.set_ids.forget(ino)

    def agrees(self, status: os.stat_result, record: Record) -> bool:
        """Whether the attributes are those on record, as far as the remote keeps them."""
        return agrees(status, record, self._remote.capabilities)


def _same_times(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether nobody has written meanwhile. Otherwise the remote may have been given something else than what was
    read before, even if the file is now as it was then."""
    return (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)
