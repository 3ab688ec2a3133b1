"""When the files of a mirror were last opened, and by which name: what eviction goes by.

Access times of the file system may be off, and names are the only way from an inode number to its file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Collection
from typing import TypeVar

from msgspec import Struct

from broker.remotes.paths import Path

Result = TypeVar("Result")

SCHEMA = """
CREATE TABLE IF NOT EXISTS used (
    ino INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    path BLOB NOT NULL
);
"""
CLEAN = f"hydrated AND NOT dirty AND size > 0 AND (mode & {stat.S_IFMT(0o777777)}) = {stat.S_IFREG}"
"""Rows of files with clean content."""


class Candidate(Struct, frozen=True):
    """A file whose clean content is in the mirror."""

    ino: int
    size: int
    """Bytes on disk, as far as the ledger can tell."""
    at: int
    """When it was used last: larger is later, 0 is unknown."""
    path: Path | None
    """Where it was then."""


class Usage:
    """The notes of one session in memory, those of all sessions in the ledger's file.

    It has connections of its own, on threads: to sum up a hundred thousand rows must not keep the ledger's waiting.
    """

    def __init__(self, ledger: str) -> None:
        """`ledger` is the path of the ledger's file."""
        self._path = ledger
        self._notes: dict[int, tuple[int, Path]] = {}

    def note(self, ino: int, path: Path) -> None:
        """The file is used now."""
        self._notes[ino] = time.time_ns(), path

    async def save(self) -> None:
        """Put the notes on record. After the clock was set back they still count as later than all before."""
        notes, self._notes = self._notes, {}
        try:
            if notes:
                await asyncio.to_thread(self._with, lambda database: _insert(database, notes))
        except BaseException:
            self._notes = notes | self._notes
            raise

    async def clean_bytes(self) -> int:
        """How much clean content the mirror holds."""
        return await asyncio.to_thread(
            self._with,
            lambda database: int(
                database.execute(f"SELECT total(blocks) * 512 FROM node WHERE {CLEAN}").fetchone()[0]
            ),
        )

    async def candidates(self) -> list[Candidate]:
        """All files with clean content, and an end to the notes on those that there are no more."""
        with contextlib.suppress(sqlite3.Error):  # a full disk; then the notes wait
            await self.save()
        return await asyncio.to_thread(self._with, _candidates)

    async def forget(self, inos: Collection[int]) -> None:
        """They have no content any more."""

        def delete(database: sqlite3.Connection) -> None:
            database.executemany("DELETE FROM used WHERE ino = ?", [(ino,) for ino in inos])

        with contextlib.suppress(sqlite3.Error):
            await asyncio.to_thread(self._with, delete)

    def _with(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        if not os.path.exists(self._path):
            raise FileNotFoundError(self._path)
        with (
            contextlib.closing(sqlite3.connect(self._path, timeout=60, isolation_level="IMMEDIATE")) as database,
            database,
        ):
            database.execute("PRAGMA synchronous=NORMAL")
            return work(database)


def _insert(database: sqlite3.Connection, notes: dict[int, tuple[int, Path]]) -> None:
    (last,) = database.execute("SELECT coalesce(max(at), 0) FROM used").fetchone()
    behind = last + 1 - min(at for at, _ in notes.values()) if last > time.time_ns() else 0
    rows = [(ino, at + behind, path) for ino, (at, path) in notes.items()]
    database.executemany("INSERT OR REPLACE INTO used (ino, at, path) VALUES (?, ?, ?)", rows)


def _candidates(database: sqlite3.Connection) -> list[Candidate]:
    rows = database.execute(
        "SELECT ino, blocks * 512, coalesce(at, 0), path FROM node LEFT JOIN used USING (ino) "
        f"WHERE {CLEAN} ORDER BY coalesce(at, 0)"
    )
    return [Candidate(*row) for row in rows]
