"""Looking names up: what the mirror shows is made to agree with the remote when it is no longer trusted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import Awaitable, Callable, Sequence

from broker.mirror import leases
from broker.mirror.ledger import Ledger, Record
from broker.mirror.shared import Generation, Locks
from broker.mirror.tree import Tree
from broker.remotes.protocol import (
    Attributes,
    BadAnswer,
    Entry,
    NotADirectory,
    NotFound,
    Path,
    Remote,
    valid_name,
    valid_target,
)

_KNOWN_MOST = 100_000
"""Names whose time of validation is remembered; beyond it all are forgotten."""


class Lookup:
    """Placeholders for what the remote has, validated by time.

    A name is trusted when it, or the listing of its folder, was validated at or after the moment that the
    caller asks for.
    """

    def __init__(
        self, remote: Remote, tree: Tree, ledger: Ledger, locks: Locks, generation: Generation, ttl: float
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._ledger = ledger
        self._locks = locks
        self._generation = generation
        self._ttl = ttl
        self._validated: dict[Path, float] = {}
        self._listed: dict[Path, float] = {}
        self._running: dict[tuple[str, Path], asyncio.Future[bool]] = {}
        self._identities: dict[str, tuple[Path, int]] = {}

    async def look(self, path: Path, since: float | None = None) -> os.stat_result | None:
        """lstat(2) of the mirror's node at `path`, validated since then (default: within the ttl)."""
        now = time.monotonic()
        if not self._trusted(path, now - self._ttl if since is None else since):
            await self._once("look", path, self._validate)
        return self._tree.lstat(path)

    async def listing(self, path: Path, since: float | None = None) -> None:
        """Make the names in the mirror's folder those of the remote's, each with its placeholder."""
        wanted = time.monotonic() - self._ttl if since is None else since
        if self._listed.get(path, 0.0) < wanted:
            await self._once("list", path, self._list)

    def is_listed(self, path: Path) -> bool:
        """Whether the folder's entries are all in the mirror, so that its link count is right."""
        return path in self._listed

    def known_directory(self, path: Path) -> bool:
        """Whether `path` was seen as a folder within the ttl, so that a walk need not look again."""
        if not self._trusted(path, time.monotonic() - self._ttl):
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
            self._validated[path] = time.monotonic()

    async def rebase(self, path: Path, record: Record, attributes: Attributes) -> None:
        """The remote's version of a node moved because of a change of ours that left its content alone."""
        fresh = record_of(record.ino, attributes, hydrated=record.hydrated, dirty=record.dirty, digest=record.digest)
        await self._ledger.put(fresh)
        self._validated[path] = time.monotonic()

    def changed(self, path: Path, *, empty: bool = False) -> None:
        """A name was made or removed here: its own validation counts from now; `empty` for a new folder."""
        self._generation.touch_folder(parent_of(path))
        self._validated[path] = time.monotonic()
        if empty:
            self._listed[path] = time.monotonic()

    def forget(self, path: Path) -> None:
        """Trust nothing at or below `path` any more."""
        below = path + b"/"
        for known in (self._validated, self._listed):
            for name in [name for name in known if name == path or name.startswith(below)]:
                del known[name]

    def distrust(self, path: Path) -> None:
        """The remote and the mirror may differ about this name and its folder's listing."""
        self._validated.pop(path, None)
        self._listed.pop(parent_of(path), None)

    def _trusted(self, path: Path, since: float) -> bool:
        validated = self._validated.get(path)
        if validated is not None and validated >= since:
            return True
        return bool(path) and self._listed.get(parent_of(path), 0.0) >= since

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

    async def _validate(self, path: Path) -> None:
        started = time.monotonic()
        token = self._generation.folder(parent_of(path))
        try:
            attributes = await self._remote.stat(path)
        except (NotFound, NotADirectory):
            if self._generation.folder(parent_of(path)) == token:
                async with self._locks.names(path):
                    await self._discard(path)
        else:
            await self._agree(path, attributes)
        if len(self._validated) > _KNOWN_MOST:
            self._validated.clear()
        self._validated[path] = started

    async def _agree(self, path: Path, attributes: Attributes) -> None:
        """Make the mirror's node at `path` the one that the remote has."""
        _check(path, attributes)
        status = self._tree.lstat(path)
        record = await self._ledger.get(status.st_ino) if status else None
        if status and record and _same(status, record, attributes):
            return
        async with self._locks.names(path):
            status = self._tree.lstat(path)
            record = await self._ledger.get(status.st_ino) if status else None
            if status and record and (record.dirty or _same(status, record, attributes)):
                return
            if status and stat.S_IFMT(status.st_mode) != stat.S_IFMT(attributes.mode):
                await self._discard(path)
                status = self._tree.lstat(path)
                if status:
                    return
            with self._tree.pinned(path):
                try:
                    with self._tree.keeping_times(parent_of(path)) if path else contextlib.nullcontext():
                        placed = self._place(path, status, record, attributes)
                except FileNotFoundError:
                    return
                await self._ledger.put(placed)
                if status and status.st_ino != placed.ino and status.st_nlink == 1:
                    await self._ledger.drop(status.st_ino)

    def _place(
        self, path: Path, status: os.stat_result | None, record: Record | None, attributes: Attributes
    ) -> Record:
        """Make one placeholder, or replace or update one of the same kind; what to put on record of it."""
        tree = self._tree
        if status is None:
            self._make_folders(parent_of(path))
            ino = self._link_or_create(path, attributes)
            return record_of(ino, attributes, hydrated=not attributes.is_regular)
        if attributes.is_directory:
            tree.set_attributes(path, attributes)
            return record_of(status.st_ino, attributes, hydrated=True)
        if attributes.is_regular and record is not None and self._in_use(path):
            return record
        return record_of(tree.replace(path, attributes), attributes, hydrated=not attributes.is_regular)

    def _make_folders(self, path: Path) -> None:
        """A name is only looked up below folders that were; make those that vanished meanwhile."""
        if path and self._tree.lstat(path) is None:
            os.makedirs(self._tree.real(path), mode=0o700, exist_ok=True)

    def _link_or_create(self, path: Path, attributes: Attributes) -> int:
        """A second name of a file that the mirror has already becomes a hard link there too."""
        identity = attributes.identity
        if identity is None:
            return self._tree.create(path, attributes)
        other, ino = self._identities.get(identity, (path, 0))
        status = self._tree.lstat(other)
        record = self._ledger.peek(ino)
        if status and status.st_ino == ino and (record is None or record.identity == identity):
            os.link(self._tree.real(other), self._tree.real(path), follow_symlinks=False)
            return ino
        ino = self._tree.create(path, attributes)
        self._identities[identity] = path, ino
        return ino

    def _in_use(self, path: Path) -> bool:
        file = os.open(self._tree.real(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            return leases.has_writer(file) or leases.is_locked(file)
        finally:
            os.close(file)

    async def _discard(self, path: Path) -> None:
        """The remote has no such name: the mirror loses it too, unless something dirty is there or below."""
        status = self._tree.lstat(path)
        if status is None or not path:
            return
        dirty = {record.ino for record in await self._ledger.dirty()}
        inos = [status.st_ino]
        if stat.S_ISDIR(status.st_mode):
            inos += [below.st_ino for _, below in self._tree.walk(path)]
        if not dirty.isdisjoint(inos):
            return
        await self._ledger.drop(*inos)
        with self._tree.keeping_times(parent_of(path)):
            self._tree.remove(path)
        self.forget(path)

    async def _list(self, path: Path) -> None:
        started = time.monotonic()
        token = self._generation.folder(path)
        seen: set[bytes] = set()
        async for page in self._remote.list(path):
            _check_page(path, page, seen)
            await self._agree_page(path, page, token)
        for name in await asyncio.to_thread(self._tree.names, path):
            if name not in seen:
                await self._missing(join(path, name), path, token)
        with contextlib.suppress(NotFound, NotADirectory):
            await self._agree(path, await self._remote.stat(path))
        self._validated[path] = started
        self._listed[path] = time.monotonic()

    async def _agree_page(self, path: Path, page: Sequence[Entry], token: bytes) -> None:
        """One page at a time, on a thread: a folder of 100,000 names must not keep other calls waiting."""
        present = await asyncio.to_thread(self._stats, path, page)
        records = await self._ledger.get_many(status.st_ino for status in present.values())
        stale: list[Entry] = []
        for entry in page:
            status = present.get(entry.name)
            record = records.get(status.st_ino) if status else None
            if not (status and record and (record.dirty or _same(status, record, entry.attributes))):
                stale.append(entry)
        absent = [entry for entry in stale if entry.name not in present]
        if absent and self._generation.folder(path) == token:
            await self._ledger.put(*await asyncio.to_thread(self._create_all, path, absent))
            stale = [entry for entry in stale if entry.name in present]
        for entry in stale:
            if self._generation.folder(path) == token:
                await self._agree(join(path, entry.name), entry.attributes)
            else:
                await self._validate(join(path, entry.name))

    def _stats(self, path: Path, page: Sequence[Entry]) -> dict[bytes, os.stat_result]:
        found = {}
        for entry in page:
            status = self._tree.lstat(join(path, entry.name))
            if status is not None:
                found[entry.name] = status
        return found

    def _create_all(self, path: Path, entries: Sequence[Entry]) -> list[Record]:
        records = []
        for entry in entries:
            with contextlib.suppress(FileExistsError):
                with self._tree.keeping_times(path):
                    ino = self._link_or_create(join(path, entry.name), entry.attributes)
                hydrated = not entry.attributes.is_regular
                records.append(record_of(ino, entry.attributes, hydrated=hydrated))
        return records

    async def _missing(self, path: Path, folder: Path, token: bytes) -> None:
        """A name that the listing lacked: gone from the remote, unless it was made here in the meantime."""
        if self._generation.folder(folder) == token:
            async with self._locks.names(path):
                await self._discard(path)
        else:
            await self._validate(path)


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


def parent_of(path: Path) -> Path:
    return path.rpartition(b"/")[0]


def join(folder: Path, name: bytes) -> Path:
    return folder + b"/" + name if folder else name


def _same(status: os.stat_result, record: Record, attributes: Attributes) -> bool:
    return record.version == attributes.version and stat.S_IFMT(status.st_mode) == stat.S_IFMT(attributes.mode)


def _check(path: Path, attributes: Attributes) -> None:
    if attributes.size < 0 or attributes.size >= 1 << 63:
        raise BadAnswer(path, f"the remote says that it has {attributes.size} bytes")
    if attributes.is_symlink and not valid_target(attributes.target or b""):
        raise BadAnswer(path, "the remote has a symlink whose target no symlink can have")


def _check_page(path: Path, page: Sequence[Entry], seen: set[bytes]) -> None:
    for entry in page:
        if not valid_name(entry.name) or entry.name in seen:
            raise BadAnswer(path, f"the remote lists the name {entry.name!r}, which no folder can have")
        _check(join(path, entry.name), entry.attributes)
        seen.add(entry.name)
