"""The ledger: what is on record of each node of one mirror, by inode number, safe for many sessions at once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from broker.mirror.shared import Generation
from broker.remotes.protocol import Version

Result = TypeVar("Result")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS node (
    ino INTEGER PRIMARY KEY,
    version TEXT NOT NULL,
    hydrated INTEGER NOT NULL,
    dirty INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    nlink INTEGER NOT NULL,
    blocks INTEGER NOT NULL,
    digest BLOB,
    identity TEXT
);
CREATE INDEX IF NOT EXISTS dirty_nodes ON node (ino) WHERE dirty;
"""
_COLUMNS = "ino, version, hydrated, dirty, size, mtime_ns, mode, nlink, blocks, digest, identity"
_BATCH = 500
"""Inode numbers in one query: below SQLite's limit on variables."""


@dataclass(frozen=True, slots=True)
class Record:
    """One node as last agreed with the remote. Without a record, nothing is known of an inode."""

    ino: int
    version: Version
    hydrated: bool
    """Whether the content in the mirror is complete."""
    dirty: bool
    """Whether the content in the mirror may be newer than the remote's."""
    size: int
    mtime_ns: int
    mode: int
    nlink: int
    blocks: int
    """Of 512 bytes, as the remote has it: what `du` should see of a placeholder."""
    digest: bytes | None = None
    """Of the content at `version`, where it has been read."""
    identity: str | None = None


def _record(row: Sequence[object]) -> Record:
    ino, version, hydrated, dirty, *rest = row
    return Record(ino, version, bool(hydrated), bool(dirty), *rest)  # type: ignore[arg-type]


def _row(record: Record) -> tuple[object, ...]:
    return (
        record.ino,
        record.version,
        record.hydrated,
        record.dirty,
        record.size,
        record.mtime_ns,
        record.mode,
        record.nlink,
        record.blocks,
        record.digest,
        record.identity,
    )


class Ledger:
    """SQLite in WAL mode on a thread of its own, with a cache that other sessions' changes invalidate.

    Every change is one BEGIN IMMEDIATE transaction: deferred ones run into SQLITE_BUSY when sessions meet.
    synchronous=NORMAL keeps a commit over `kill -9`; only power loss may take the last ones.
    """

    def __init__(self, path: str, generation: Generation) -> None:
        self._generation = generation
        self._cache: dict[int, Record | None] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._database = self._thread.submit(self._connect, path).result()

    @staticmethod
    def _connect(path: str) -> sqlite3.Connection:
        database = sqlite3.connect(path, timeout=60, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(_SCHEMA)
        return database

    def peek(self, ino: int) -> Record | None:
        """The record if it is at hand in memory and current; None says nothing."""
        return None if self._outdated() else self._cache.get(ino)

    async def get(self, ino: int) -> Record | None:
        return (await self.get_many((ino,))).get(ino)

    async def get_many(self, inos: Iterable[int]) -> dict[int, Record]:
        """The records of those inodes that have one."""
        if self._outdated():
            self._cache.clear()
            self._generation.take()
        wanted = list(inos)
        missing = [ino for ino in wanted if ino not in self._cache]
        if missing:
            found = await self._run(lambda database: self._select(database, missing))
            for ino in missing:
                self._cache[ino] = found.get(ino)
        known = ((ino, self._cache.get(ino)) for ino in wanted)
        return {ino: record for ino, record in known if record is not None}

    async def put(self, *records: Record) -> None:
        """Write the records; they are on disk, for all sessions, when this returns."""
        rows = [_row(record) for record in records]
        marks = ", ".join("?" * 11)
        await self._change(f"INSERT OR REPLACE INTO node ({_COLUMNS}) VALUES ({marks})", rows)
        for record in records:
            self._cache[record.ino] = record

    async def drop(self, *inos: int) -> None:
        """Forget the inodes: their numbers may be used again."""
        await self._change("DELETE FROM node WHERE ino = ?", [(ino,) for ino in inos])
        for ino in inos:
            self._cache[ino] = None

    async def dirty(self) -> list[Record]:
        """The records of all dirty nodes, from the database."""
        return await self._run(
            lambda database: [_record(row) for row in database.execute(f"SELECT {_COLUMNS} FROM node WHERE dirty")]
        )

    def close(self) -> None:
        self._thread.submit(self._database.close).result()
        self._thread.shutdown()

    def _outdated(self) -> bool:
        return self._generation.changed()

    async def _run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._database)

    async def _change(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        def work(database: sqlite3.Connection) -> None:
            database.execute("BEGIN IMMEDIATE")
            try:
                database.executemany(statement, rows)
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
            self._generation.bump()

        await self._run(work)

    @staticmethod
    def _select(database: sqlite3.Connection, inos: list[int]) -> dict[int, Record]:
        found: dict[int, Record] = {}
        for start in range(0, len(inos), _BATCH):
            batch = inos[start : start + _BATCH]
            marks = ", ".join("?" * len(batch))
            for row in database.execute(f"SELECT {_COLUMNS} FROM node WHERE ino IN ({marks})", batch):
                record = _record(row)
                found[record.ino] = record
        return found
