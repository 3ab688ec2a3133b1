"""The ledger's file: how it is opened, and how one that is damaged makes way for a new one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator

from broker.mirror.usage import SCHEMA as USED
from broker.remotes.protocol import Version

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
CREATE TABLE IF NOT EXISTS tidied (once INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS twin (identity TEXT, path BLOB, PRIMARY KEY (identity, path)) WITHOUT ROWID;
"""
COLUMNS = "ino, version, hydrated, dirty, size, mtime_ns, mode, nlink, blocks, digest, identity"
_VERSION = 1
"""Of the schema: a ledger of any other is made anew."""
_DAMAGED = sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB
_SUSPECT, _ASIDE = ".suspect", ".damaged"


def connect(path: str, patience: float) -> sqlite3.Connection:
    """Open or make the ledger at `path`; a database that another session has locked is waited for so many seconds."""
    with _starting(path):
        return _open(path, patience)


def renew(path: str, alone: Callable[[], bool]) -> dict[int, Version] | None:
    """Put a ledger that cannot be used aside; the inode numbers and versions of what it still says is dirty. None if
    it can be used, or others may have it open.

    One that was closed properly is believed; after a kill, and where a session has found it damaged, it is checked.
    `alone` is asked when nobody can open it: who has done so has said before that he is there.
    """
    with _starting(path):
        if not alone():
            return None
        if not os.path.exists(path):
            return {}
        if _is_sound(path):
            return None
        dirty = _salvage(path)
        os.replace(path, path + _ASIDE)
        for rest in ("-wal", "-shm", _SUSPECT):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + rest)
        return dirty


@contextlib.contextmanager
def _starting(path: str) -> Iterator[None]:
    """One session at a time: the change to WAL is refused at once, whatever the timeout, while another makes it."""
    starting = os.open(path + ".starting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(starting, fcntl.LOCK_EX)
        yield
    finally:
        os.close(starting)


def _open(path: str, patience: float) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    version = database.execute("PRAGMA user_version").fetchone()
    if version == (_VERSION,):
        database.executescript(_SCHEMA + USED)
    elif not database.execute("SELECT * FROM sqlite_schema").fetchone():  # one of another version stays what it is
        database.executescript(f"BEGIN; {_SCHEMA} {USED}; PRAGMA user_version={_VERSION}; COMMIT")
    database.execute(f"PRAGMA busy_timeout={int(patience * 1000)}")
    return database


def suspect(path: str) -> None:
    """Have the next session that is alone put the ledger aside."""
    with contextlib.suppress(OSError):
        os.close(os.open(path + _SUSPECT, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is wrong, and not what is around it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def tidy(database: sqlite3.Connection) -> None:
    """Copy the log into the database. Who writes first afterwards syncs the new log's header: this thread."""
    with contextlib.suppress(sqlite3.OperationalError):
        database.execute("PRAGMA wal_checkpoint(RESTART)")
        database.execute("REPLACE INTO tidied VALUES (0)")


def _salvage(path: str) -> dict[int, Version]:
    """What can be read of the dirty nodes before the damage is met."""
    dirty = {}
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
        for ino, version in database.execute("SELECT ino, version FROM node WHERE dirty"):
            if isinstance(ino, int) and isinstance(version, str):
                dirty[ino] = Version(version)
    return dirty


def _is_sound(path: str) -> bool:
    if os.path.exists(path + _SUSPECT):
        return False
    killed = os.path.exists(path + "-wal")
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
            version, checked = database.execute("PRAGMA user_version").fetchone()[0], "ok"
            if killed:
                (checked,) = database.execute("PRAGMA quick_check(1)").fetchone()
            return bool(version == _VERSION and checked == "ok")
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return False
