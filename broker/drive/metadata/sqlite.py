"""SQLite's connections: how they are prepared, how a transaction begins, and one that never waits."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc

from broker import wal
from broker.drive.errors import Unusable
from broker.drive.metadata import clock
from broker.drive.metadata.changes import Changes
from broker.drive.metadata.mode import Mode

THREADS = 4
_BUSY = 30.0
"""Seconds to wait for the lock."""
_LOG = 200
"""Transactions after which the log is copied into the database. One of a new file writes about fifteen pages."""
_PRAGMAS = (
    "foreign_keys = ON",
    "synchronous = NORMAL",
    "cache_size = -16384",
    # Pages, of 4 KiB. A checkpoint syncs, and writes a page once however often it has changed since the one before.
    "wal_autocheckpoint = 4000",
)


def make_engine(url: URL, busy: float = _BUSY, *, create: bool = False) -> Engine:
    """Connections to the database in a file, which is made with `create` if it is not there. Unusable.

    `busy`: how long a transaction waits for another's lock, in seconds.
    """
    if not url.database or url.database == ":memory:":
        raise Unusable("the database needs a file: sqlite:///FILE")
    _require(url.database, create)
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite"),
        connect_args={"timeout": busy},
        pool_size=THREADS + 1,
        pool_use_lifo=True,
    )
    event.listen(engine, "connect", lambda connection, record: _prepare(connection, busy))
    return engine


def _require(path: str, create: bool) -> None:
    """One that is there is only looked at: to open and close the file of a database that SQLite has open in the same
    process takes all its locks away (fcntl(2))."""
    try:
        if create:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        os.stat(path)
    except FileNotFoundError as error:
        if create:
            raise Unusable(f"{path}: no such folder: create {os.path.dirname(path)}") from error
        todo = "restore it, or name the one that serve uses"
        raise Unusable(f"the database {path} does not exist: {todo}") from error
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from error
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        raise Unusable(f"{path}: {os.strerror(errno.EACCES)}")


def _prepare(connection: sqlite3.Connection, busy: float) -> None:
    connection.isolation_level = None  # BEGIN is ours: the driver's own comes late, and never IMMEDIATE
    clock.provide(connection)
    wal.switch_on(connection, busy)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def begin(connection: Connection, mode: Mode) -> None:
    driver = _driver(connection)
    if mode is Mode.READ:
        driver.execute("BEGIN")
        return
    # In WAL mode NORMAL never syncs at a commit, and FULL always does, with all that was written before.
    level = "FULL" if mode is Mode.DURABLE else "NORMAL"
    if connection.info.get("synchronous") != level:
        driver.execute(f"PRAGMA synchronous = {level}")
        connection.info["synchronous"] = level
    driver.execute("BEGIN IMMEDIATE")


class Here:
    """One connection for one thread, whose transactions wait neither for a lock nor for the disk."""

    def __init__(self, url: URL) -> None:
        self._engine = make_engine(url, busy=0)
        self._connection: Connection | None = None
        self._written = 0
        self._changes: Changes | None = None

    def changes(self) -> memoryview | None:
        """Bytes that are others after every transaction, of any process, that has changed anything; None where they
        cannot be found. They count until `close`."""
        if self._changes is None:
            assert self._engine.url.database is not None
            with contextlib.suppress(sqlite3.Error, OSError):
                self._changes = Changes(self._engine.url.database)
        return None if self._changes is None else self._changes.bytes

    @contextlib.contextmanager
    def transaction(self, mode: Mode) -> Iterator[Connection]:
        if self._connection is None:
            self._connection = self._engine.connect()
            _driver(self._connection).execute("PRAGMA wal_autocheckpoint = 0")
        with self._connection.begin():
            yield self._connection
        self._written += mode is not Mode.READ

    def is_due(self) -> bool:
        """Whether it is time for `restart_log`; once for each time."""
        due = self._written >= _LOG
        if due:
            self._written = 0
        return due

    def restart_log(self) -> None:
        """Copy the log into the database, on another thread. Who writes first afterwards syncs the new log's header:
        this one."""
        with (
            contextlib.suppress(sqlite3.OperationalError, exc.OperationalError),
            self._engine.connect() as connection,
        ):
            driver = _driver(connection)
            driver.execute("PRAGMA wal_checkpoint(PASSIVE)")
            driver.execute("PRAGMA wal_checkpoint(RESTART)")  # with the copying done, it holds up nobody
            driver.execute("PRAGMA user_version = 0")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()
        if self._changes is not None:
            self._changes.close()


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver
