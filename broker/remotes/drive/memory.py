"""The rollback memory: the highest version seen of every node and entry, shared by sessions and kept over them.

A store that answers with less than what is remembered shows an old state: a backup put back, changes lost to a power
loss, or an attack. What was seen during the last moments before a crash may be forgotten; what is remembered is never
too high.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain

from broker import wal
from broker.drive.errors import Unusable
from broker.drive.records import Entry, Node, NodeId, Token

Versions = Iterable[tuple[bytes, int]]
"""Things, and which version of each was seen."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS seen (thing BLOB PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID
"""
_RAISE = """
INSERT INTO seen VALUES (?, ?)
ON CONFLICT (thing) DO UPDATE SET version = excluded.version WHERE excluded.version > seen.version
"""
_PATIENCE = 60.0
"""Seconds that another session's lock is waited for."""
_TOGETHER = 500
_KEPT = 200_000
"""Versions that are held in memory; beyond it all are read from the disk again."""


def node_key(id: NodeId) -> bytes:
    return id


def entry_key(parent: NodeId, token: Token) -> bytes:
    """Half of the token is enough to tell the names of one folder apart."""
    return parent + token[:16]


class Memory:
    """Seen versions of one drive, in the database at `path`, or only for as long as it lives when that is None.
    Unusable if that is damaged: it is not taken for an empty one in silence.

    Used by one loop and, in `read` and `flush`, by threads beside it.
    """

    def __init__(self, path: str | None) -> None:
        self._known: dict[bytes, int] = {}
        self._unwritten: dict[bytes, int] = {}
        self._watching: dict[int, dict[bytes, int]] = {}
        self._lock = threading.Lock()
        self._path = path
        self._database = _open(path) if path else None

    def missing(self, versions: Versions) -> list[tuple[bytes, int]]:
        """Those of which it is not in memory what the disk knows of them."""
        if self._database is None:
            return []
        if len(self._known) > _KEPT:
            self.flush()
            self._known.clear()
        return [pair for pair in versions if pair[0] not in self._known]

    def read(self, missing: Sequence[tuple[bytes, int]]) -> dict[bytes, int]:
        """What the disk knows of these things, on any thread. Of most it knows the same version, and has nothing to
        say. Unusable."""
        read = dict(missing)
        if self._path is None or self._database is None:
            return read
        with self._lock, _usable(self._path):
            for start in range(0, len(missing), _TOGETHER):
                some = missing[start : start + _TOGETHER]
                asked = list(chain.from_iterable(some))
                read.update(self._database.execute(_otherwise(len(some)), asked))
        return read

    def remember(self, read: Mapping[bytes, int]) -> None:
        """Have in memory what was read, unless something was seen meanwhile."""
        known = self._known
        known.update({thing: version for thing, version in read.items() if thing not in known})

    def known(self, thing: bytes) -> int:
        """The highest version that was seen, 0 for something new."""
        if missing := self.missing([(thing, 0)]):
            self.remember(self.read(missing))
        return self._known.get(thing, 0)

    def others(self, versions: Versions) -> list[tuple[bytes, int]]:
        """Those of which not this very version is known, all having been loaded: of a listing few."""
        known = self._known
        return [pair for pair in versions if known.get(pair[0]) != pair[1]]

    def newer(self, versions: Versions) -> list[tuple[bytes, int]]:
        """Those of which something newer is known; all have been loaded."""
        known = self._known
        return [(thing, version) for thing, version in versions if version < known.get(thing, 0)]

    def saw(self, thing: bytes, version: int) -> None:
        self.saw_each([(thing, version)])

    def saw_each(self, versions: Versions) -> None:
        known, unwritten = self._known, self._unwritten
        for thing, version in versions:
            if version > (last := known.get(thing, 0)):
                for before in self._watching.values():
                    before.setdefault(thing, last)
                known[thing] = unwritten[thing] = version

    @contextlib.contextmanager
    def watching(self) -> Iterator[Mapping[bytes, int]]:
        """What was known, when the context began, of the things that newer versions are seen of meanwhile."""
        before: dict[bytes, int] = {}
        self._watching[id(before)] = before
        try:
            yield before
        finally:
            del self._watching[id(before)]

    def saw_all(self, nodes: Iterable[Node] = (), entries: Iterable[Entry] = ()) -> None:
        self.saw_each((node_key(node.id), node.version) for node in nodes)
        self.saw_each((entry_key(entry.parent, entry.token), entry.version) for entry in entries)

    @property
    def waiting(self) -> bool:
        """Whether there is something to flush."""
        return bool(self._unwritten)

    def flush(self) -> None:
        """Write down what was seen since the last time. Errors are passed over: the memory is then shorter."""
        with self._lock:
            seen, self._unwritten = self._unwritten, {}
            if self._database is not None and seen:
                with contextlib.suppress(sqlite3.DatabaseError):
                    self._write(self._database, seen)

    def close(self) -> None:
        self.flush()
        if self._database is not None:
            self._database.close()

    @staticmethod
    def _write(database: sqlite3.Connection, seen: Mapping[bytes, int]) -> None:
        rows: Sequence[tuple[bytes, int]] = sorted(seen.items())
        database.execute("BEGIN IMMEDIATE")
        try:
            database.executemany(_RAISE, rows)
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")


@cache
def _otherwise(count: int) -> str:
    """Of so many things, each with a version, what the disk knows of those of which it knows another."""
    return f"""
        WITH asked (thing, version) AS (VALUES {", ".join(["(?, ?)"] * count)})
        SELECT asked.thing, ifnull(seen.version, 0) FROM asked LEFT JOIN seen USING (thing)
        WHERE seen.version IS NOT asked.version
    """


def forget(path: str) -> bool:
    """Empty the memory at `path`, so that an older state is accepted; whether there was one. One that is damaged is
    removed. OSError."""
    if not os.path.exists(path):
        return False
    try:
        with contextlib.closing(_open(path)) as database, _usable(path):
            database.execute("DELETE FROM seen")
    except Unusable:
        for name in (path, f"{path}-wal", f"{path}-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
    return True


def _open(path: str) -> sqlite3.Connection:
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    with _usable(path):
        database = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            wal.switch_on(database, _PATIENCE)
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(_SCHEMA)
        except BaseException:
            database.close()
            raise
        return database


@contextlib.contextmanager
def _usable(path: str) -> Iterator[None]:
    """Unusable, naming the database and what to do, where SQLite only says what it has met."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise Unusable(
            f"{path} remembers what was seen of the drive, and cannot be used ({error}). If it is damaged, "
            "seccomp-drive key accept-rollback removes it: what the drive has now is then accepted"
        ) from error
