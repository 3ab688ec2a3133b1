"""A database, its transactions on threads of their own, and its errors as those of a store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event, exc, make_url

from broker.drive.errors import Damaged, DriveError, StoreFull, Unreachable, Unusable
from broker.drive.metadata import clock

P = ParamSpec("P")
T = TypeVar("T")

_BUSY = 30.0
"""Seconds to wait for SQLite's lock, and for a connection."""
_ATTEMPTS = 10
_THREADS = {"sqlite": 4, "postgresql": 16}


class Mode(Enum):
    READ = "read"
    """One snapshot for all queries of the transaction."""
    WRITE = "write"
    """It survives the end of any process once committed."""
    DURABLE = "durable"
    """As WRITE, and it survives a power loss once committed."""


class Database:
    """Runs functions of a `Connection`, each in one transaction. Blocks nobody: they run on threads."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._driver_error = _driver_error(self.engine.dialect)
        self._begin = _begin_sqlite if self.engine.dialect.name == "sqlite" else _begin_postgresql
        self._modes = {mode: _with_mode(self.engine, mode) for mode in Mode}
        self._threads = ThreadPoolExecutor(_THREADS[self.engine.dialect.name], "metadata")
        # SQLite has one writer at a time, whom the others await by sleeping, in no order and in the way of readers.
        alone = self.engine.dialect.name == "sqlite"
        self._writer = ThreadPoolExecutor(1, "metadata-writer") if alone else self._threads

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`work(connection, ...)` on a snapshot. Raises DriveError only."""
        return await self._on_thread(Mode.READ, lambda connection: work(connection, *args, **kwargs))

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`work(connection, ...)`, committed when it returns and undone when it raises. It may run several times."""
        return await self._on_thread(Mode.WRITE, lambda connection: work(connection, *args, **kwargs))

    async def write_durably(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `write`; what is committed survives a power loss, with all that was committed before."""
        return await self._on_thread(Mode.DURABLE, lambda connection: work(connection, *args, **kwargs))

    async def _on_thread(self, mode: Mode, work: Callable[[Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        threads = self._threads if mode is Mode.READ else self._writer
        return await loop.run_in_executor(threads, self._attempts, mode, work)

    def _attempts(self, mode: Mode, work: Callable[[Connection], T]) -> T:
        for attempt in range(1, _ATTEMPTS):
            try:
                return self._run(mode, work)
            except exc.DBAPIError as error:
                if not _passing(error, attempt):
                    raise _translated(error) from error
            time.sleep(random.uniform(0, 0.002 * 2**attempt))
        with _translating():
            return self._run(mode, work)

    def _run(self, mode: Mode, work: Callable[[Connection], T]) -> T:
        with self._modes[mode].connect() as connection, connection.begin():
            try:
                self._begin(connection, mode)
                return work(connection)
            except self._driver_error as error:
                raise _wrapped(connection, error) from error

    async def close(self) -> None:
        """After the transactions under way."""
        for threads in (self._threads, self._writer):
            await asyncio.to_thread(threads.shutdown)
        self.engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except exc.ArgumentError as error:
        raise Unusable(f"{url!r} is no URL of a database: sqlite:///FILE or postgresql://…") from error
    match parsed.get_backend_name():
        case "sqlite":
            return _sqlite(parsed)
        case "postgresql":
            return _postgresql(parsed)
    raise Unusable(f"{parsed.drivername} is no database that can be used: sqlite:///FILE or postgresql://…")


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise Unusable("the database needs a file: sqlite:///FILE")
    try:
        os.close(os.open(url.database, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise Unusable(f"{url.database}: {error.strerror}") from error
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite"),
        connect_args={"timeout": _BUSY},
        pool_size=_THREADS["sqlite"] + 1,
        pool_use_lifo=True,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


_PRAGMAS = (
    "journal_mode = WAL",
    "foreign_keys = ON",
    "synchronous = NORMAL",
    "cache_size = -16384",
    # Pages, of 4 KiB. A checkpoint syncs, and writes a page once however often it has changed since the one before.
    "wal_autocheckpoint = 4000",
)


def _prepare_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours: the driver's own comes late, and never IMMEDIATE
    clock.provide(connection)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection, mode: Mode) -> None:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    if mode is Mode.READ:
        driver.execute("BEGIN")
        return
    # In WAL mode NORMAL never syncs at a commit, and FULL always does, with all that was written before.
    level = "FULL" if mode is Mode.DURABLE else "NORMAL"
    if connection.info.get("synchronous") != level:
        driver.execute(f"PRAGMA synchronous = {level}")
        connection.info["synchronous"] = level
    driver.execute("BEGIN IMMEDIATE")


def _postgresql(url: URL) -> Engine:
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={"connect_timeout": 10, "application_name": "seccomp-drive"},
        pool_size=_THREADS["postgresql"],
        pool_timeout=_BUSY,
    )


def _begin_postgresql(connection: Connection, mode: Mode) -> None:
    """Every commit waits for the disk: without synchronous_commit a crash of the server alone, not only of its
    machine, would take the last ones."""


def _with_mode(engine: Engine, mode: Mode) -> Engine:
    """Writers lock what they decide by (committing.py), so that READ COMMITTED is enough for them."""
    if engine.dialect.name == "sqlite":
        return engine
    if mode is Mode.READ:
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine.execution_options(isolation_level="READ COMMITTED")


def _driver_error(dialect: Dialect) -> Any:
    """What the driver raises where SQLAlchemy is passed by (statements.py)."""
    driver = dialect.loaded_dbapi
    assert driver is not None
    return driver.Error


def _wrapped(connection: Connection, error: Any) -> exc.DBAPIError:
    """As SQLAlchemy raises it, which gives up connections that are lost."""
    lost = connection.dialect.is_disconnect(error, connection.connection.driver_connection, None)
    if lost:
        connection.invalidate()
    driver_error = _driver_error(connection.dialect)
    wrapped = exc.DBAPIError.instance(None, None, error, driver_error, connection_invalidated=lost)
    assert isinstance(wrapped, exc.DBAPIError)
    return wrapped


_AGAIN = {"40001", "40P01"}
"""serialization_failure and deadlock_detected: the database says that the same transaction may succeed."""


def _passing(error: exc.DBAPIError, attempt: int) -> bool:
    """Whether to try again at once.

    A pool that has outlived its server notices only when it is used. And where somebody else was first with a key,
    the next look finds it.
    """
    first = error.connection_invalidated or isinstance(error, exc.IntegrityError)
    return (first and attempt == 1) or getattr(error.orig, "sqlstate", None) in _AGAIN


@contextlib.contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        raise _translated(error) from error


def _translated(error: exc.DBAPIError) -> DriveError:
    """The driver's error without its statement and parameters, which are nobody's business."""
    text = f"database: {error.orig}".strip()
    code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None) or ""
    if code in ("53100", "SQLITE_FULL"):
        return StoreFull(text)
    if code.startswith(("XX001", "XX002", "SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return Damaged(text)
    if isinstance(error, exc.OperationalError | exc.InterfaceError):
        return Unreachable(text)
    return DriveError(text)
