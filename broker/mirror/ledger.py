"""The ledger: what is on record of each node of one mirror, by inode number, safe for many sessions at once."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TypeVar

from broker.mirror.database import COLUMNS, connect, is_damage, suspect, tidy
from broker.mirror.marks import Marks
from broker.mirror.records import Record, record_of_row, row_of
from broker.mirror.shared import Generation
from broker.mirror.usage import CLEAN
from broker.mirror.vouching import NoVouch, Vouch
from broker.pools import pool

Result = TypeVar("Result")
_Item = TypeVar("_Item")

_MARKS = ", ".join("?" for _ in COLUMNS.split(", "))
_REPLACE = "UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in COLUMNS.split(", "))
_ATTEMPTS = 4
"""How often records are read anew because another session changed some meanwhile, before they are not kept."""
_BATCH = 500
"""Inode numbers in one query, or records in one statement: below SQLite's limit on variables."""
_SMALL = 16
"""Records that are read or written at once: a commit without a sync takes less than to wake a thread."""
_KNOWN_MOST = 100_000
"""Records in the cache; beyond it all are forgotten."""
_TIDY = 500
"""Changes after which the log is copied into the database."""

Known = dict[int, Record | None]
"""What is on record of some inodes; None for nothing."""


class Ledger:
    """SQLite in WAL mode, with a cache that other sessions' changes invalidate.

    Every change is one BEGIN IMMEDIATE transaction: deferred ones run into SQLITE_BUSY when sessions meet.
    synchronous=NORMAL keeps a commit over `kill -9`; only power loss may take the last ones. What may wait, for
    another session or for the disk, is done on a thread: large changes, those that find the database locked, and
    the copying of the log, which alone syncs.
    """

    def __init__(
        self,
        path: str,
        generation: Generation,
        vouch: Vouch | None = None,
        marks: Marks | None = None,
        spend: Callable[[], bool] = lambda: False,
    ) -> None:
        """`vouch` is told how the nodes in the cache are shown, `marks` of what becomes dirty, and clean again.

        `spend` frees a little room on a full disk, and says whether it did: a push frees more once it is on record.
        """
        self._generation = generation
        self._vouch = vouch or NoVouch()
        self._marks = marks
        self._spend = spend
        self._cache: dict[int, Record | None] = {}
        self._epoch = 0
        """Counts changes, and how often the cache was emptied: what was read before is not put into it after."""
        self._thread = pool(1, "ledger")
        self._path = path
        self._database = self._thread.submit(connect, path, 60).result()
        self._at_once = connect(path, 0)
        self._changes = 0

    def peek(self, ino: int) -> Record | None:
        """The record if it is at hand in memory and current; None says nothing."""
        return None if self._generation.changed() else self._cache.get(ino)

    def last(self, ino: int) -> Record | None:
        """The record as it was read last, which another session may have changed since."""
        return self._cache.get(ino)

    async def get(self, ino: int) -> Record | None:
        return (await self.get_many((ino,))).get(ino)

    async def get_many(self, inos: Iterable[int]) -> dict[int, Record]:
        """The records of those inodes that have one; `last` has them then, unless others write all the time."""
        wanted = list(inos)
        for _ in range(_ATTEMPTS):
            if self._generation.changed():
                self._forget()
                self._generation.take()
            missing = [ino for ino in wanted if ino not in self._cache]
            if not missing:
                return {ino: record for ino in wanted if (record := self._cache[ino]) is not None}
            epoch = self._epoch
            read = await self.run(partial(_select, inos=missing), small=len(missing) <= _SMALL)
            if epoch == self._epoch:
                self._remember({ino: read.get(ino) for ino in missing})
        return await self.run(partial(_select, inos=wanted))

    async def put(self, *records: Record) -> None:
        """Write the records; they are on disk, for all sessions, when this returns.

        Whoever puts what he has changed of a record holds the node's lock since he got it.
        """
        await self._insert(f"ON CONFLICT (ino) DO {_REPLACE}", records)

    async def add(self, *records: Record) -> None:
        """Write the records of new nodes.

        A record that is there of the same version, or that is dirty, was put by somebody who knows more. Any other is
        of a node that had the number before, and whose session was killed.
        """
        stale = "NOT node.dirty AND node.version <> excluded.version"
        await self._insert(f"ON CONFLICT (ino) DO {_REPLACE} WHERE {stale}", records)

    async def mark_dirty(self, ino: int) -> Record | None:
        """Record that the node's content may change from now on; None if nothing is on record of it any more."""
        return (await self._update("dirty = 1, hydrated = 1", ino)).get(ino)

    async def add_links(self, ino: int, count: int) -> None:
        """A folder has so many more links, by a change of ours in it: its lock is not needed for that."""
        await self._update("nlink = max(nlink + ?, 2)", count, ino)

    async def drop(self, *inos: int) -> None:
        """Forget the inodes: their numbers may be used again."""

        def work(database: sqlite3.Connection) -> Known:
            _delete(database, inos)
            return dict.fromkeys(inos)

        if inos:
            await self._change(work)

    async def drop_clean(self, *inos: int) -> bool:
        """Forget the inodes unless one of them is dirty; whether they are forgotten."""

        def work(database: sqlite3.Connection) -> Known:
            if any(record.dirty for record in _select(database, inos).values()):
                return {}
            _delete(database, inos)
            return dict.fromkeys(inos)

        return not inos or bool(await self._change(work))

    async def doubt(self) -> None:
        """No clean content is known to be complete any more: who needs it compares it with its digest first."""

        def work(database: sqlite3.Connection) -> Known:
            database.execute(f"UPDATE node SET hydrated = 0 WHERE {CLEAN}")
            return {}

        await self._change(work, small=False)
        self._forget()

    async def dirty(self) -> list[Record]:
        """The records of all dirty nodes, from the database."""
        return await self.run(
            lambda database: [
                record_of_row(row) for row in database.execute(f"SELECT {COLUMNS} FROM node WHERE dirty")
            ]
        )

    def close(self) -> None:
        self._at_once.close()
        self._thread.submit(self._database.close).result()
        self._thread.shutdown()

    def _remember(self, known: Known) -> None:
        if len(self._cache) > _KNOWN_MOST:
            self._forget()
        self._cache.update(known)
        for ino, record in known.items():
            if record is None or stat.S_ISDIR(record.mode):
                self._vouch.forget_node(ino)
            else:
                shown = record.shown
                self._vouch.node(ino, shown.nlink, shown.blocks, shown.set_id, record.dirty)

    def _remember_not(self, inos: Iterable[int]) -> None:
        for ino in inos:
            self._cache.pop(ino, None)
            self._vouch.forget_node(ino)

    def _forget(self) -> None:
        self._vouch.forget_nodes()
        self._cache.clear()
        self._epoch += 1

    async def run(self, work: Callable[[sqlite3.Connection], Result], *, small: bool = False) -> Result:
        """Ask the database: on its thread, or at once what is `small` and finds nobody in the way."""
        try:
            if small:
                try:
                    return work(self._at_once)
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                        raise
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._database)
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                suspect(self._path)
                why = f"the ledger of the cache is damaged ({error}); it is made anew when all sessions have ended"
                raise OSError(errno.EIO, why) from error
            if not isinstance(error, sqlite3.OperationalError):
                raise
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise OSError(errno.EIO, f"the ledger of the cache: {error}") from error
            if self._spend():
                return await self.run(work, small=small)
            full = f"no room is left in the cache: free some at {os.path.dirname(self._path)}"
            raise OSError(errno.ENOSPC, full) from error

    async def _update(self, columns: str, *values: int) -> Known:
        """Set `columns` of one record; the last of the `values` is its inode number."""
        statement = f"UPDATE node SET {columns} WHERE ino = ? RETURNING {COLUMNS}"

        def work(database: sqlite3.Connection) -> Known:
            rows = database.execute(statement, values).fetchall()
            return {row[0]: record_of_row(row) for row in rows}

        return await self._change(work)

    async def _insert(self, otherwise: str, records: Sequence[Record]) -> None:
        def work(database: sqlite3.Connection) -> Known:
            if sum(_write(database, otherwise, some) for some in _batches(records)) == len(records):
                return {record.ino: record for record in records}
            return {**_select(database, [record.ino for record in records])}

        if records:
            await self._change(work, small=len(records) <= _SMALL)

    async def _change(self, work: Callable[[sqlite3.Connection], Known], *, small: bool = True) -> Known:
        """One transaction; it returns what is on record afterwards of the inodes that it has changed."""

        def transaction(database: sqlite3.Connection) -> Known:
            database.execute("BEGIN IMMEDIATE")
            try:
                known = work(database)
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:  # a full disk may have ended it
                    database.execute("ROLLBACK")
                raise
            self._generation.bump()
            return known

        epoch = self._epoch
        try:
            known = await self.run(transaction, small=small)
        except BaseException:
            # Cancelled, it may still be done: what is in the cache is not known to be true any more.
            self._forget()
            raise
        # A small change can overtake one on the thread: whose result is the older nobody knows then.
        newest = epoch == self._epoch
        if newest:
            self._remember(known)
        else:
            self._remember_not(known)
        self._epoch += 1
        if self._marks is not None:
            dirty = {ino: record.version if record and record.dirty else None for ino, record in known.items()}
            # A mark too many does no harm, but one that is missing may.
            self._marks.note({ino: version for ino, version in dirty.items() if newest or version is not None})
        self._changes += 1
        if self._changes >= _TIDY:
            self._changes = 0
            self._thread.submit(tidy, self._database)
        return known


def _select(database: sqlite3.Connection, inos: Sequence[int]) -> dict[int, Record]:
    found: dict[int, Record] = {}
    for batch in _batches(inos):
        marks = ", ".join("?" * len(batch))
        for row in database.execute(f"SELECT {COLUMNS} FROM node WHERE ino IN ({marks})", batch):
            record = record_of_row(row)
            found[record.ino] = record
    return found


def _write(database: sqlite3.Connection, otherwise: str, records: Sequence[Record]) -> int:
    """How many have been written; by one statement, which runs to its end without the interpreter lock."""
    rows = ", ".join([f"({_MARKS})"] * len(records))
    values = list(chain.from_iterable(map(row_of, records)))
    return database.execute(f"INSERT INTO node ({COLUMNS}) VALUES {rows} {otherwise}", values).rowcount


def _batches(all_of_them: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    return (all_of_them[start : start + _BATCH] for start in range(0, len(all_of_them), _BATCH))


def _delete(database: sqlite3.Connection, inos: Sequence[int]) -> None:
    database.executemany("DELETE FROM node WHERE ino = ?", [(ino,) for ino in inos])
