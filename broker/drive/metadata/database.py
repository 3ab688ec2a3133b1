"""A database, its transactions on threads of their own, and its errors as those of a store."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, exc, make_url

from broker.drive.errors import Damaged, DriveError, StoreFull, Unreachable, Unusable
from broker.drive.metadata import sqlite
from broker.drive.metadata.mode import Mode

P = ParamSpec("P")
T = TypeVar("T")

_PATIENCE = 30.0
"""Seconds to wait for a connection."""
_ATTEMPTS = 10
FEW = 32
"""Rows that are read or written in less time than a thread needs to wake."""
_CONNECT = {
    "application_name": "seccomp-drive",
    "client_encoding": "utf8",  # of a database without one (SQL_ASCII), psycopg would hand out text as bytes
    "connect_timeout": 10,
    # Of a database whose machine has gone without a word, the kernel waits 16 minutes for a request to arrive, and
    # two hours for its answer.
    "keepalives_count": 3,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "tcp_user_timeout": 30_000,
}
"""Parameters of libpq."""
_THREADS = {"sqlite": sqlite.THREADS, "postgresql": 16}


class Database:
    """Runs functions of a `Connection`, each in one transaction. Blocks nobody: they run on threads."""

    def __init__(self, url: str, *, create: bool = False, at_once: bool = False) -> None:
        """`create`: SQLite's file is made if it is not there.

        `at_once`: SQLite's transactions of a few rows run where they are awaited, unless another process has the
        lock. They take less than to wake a thread, which a server with many users needs nevertheless.
        """
        self.engine = _engine(url, create)
        self._what = _what(self.engine.url)
        self._here = sqlite.Here(self.engine.url) if at_once and self.engine.dialect.name == "sqlite" else None
        self._driver_error = _driver_error(self.engine.dialect)
        self._begin = sqlite.begin if self.engine.dialect.name == "sqlite" else _begin_postgresql
        self._modes = {mode: _with_mode(self.engine, mode) for mode in Mode}
        self._threads = ThreadPoolExecutor(_THREADS[self.engine.dialect.name], "metadata")
        # SQLite has one writer at a time, whom the others await by sleeping, in no order and in the way of readers.
        alone = self.engine.dialect.name == "sqlite"
        self._writer = ThreadPoolExecutor(1, "metadata-writer") if alone else self._threads

    def changes(self) -> memoryview | None:
        """As `sqlite.Here.changes`, of a database whose transactions run where they are awaited."""
        return None if self._here is None else self._here.changes()

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

    async def read_some(
        self, rows: int, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `read`, of about so many rows: of a few, at once."""
        begin = self._at_once if rows <= FEW else self._on_thread
        return await begin(Mode.READ, lambda connection: work(connection, *args, **kwargs))

    async def write_some(
        self, rows: int, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `write`, of about so many rows: of a few, at once."""
        begin = self._at_once if rows <= FEW else self._on_thread
        return await begin(Mode.WRITE, lambda connection: work(connection, *args, **kwargs))

    async def _at_once(self, mode: Mode, work: Callable[[Connection], T]) -> T:
        if self._here is None:
            return await self._on_thread(mode, work)
        try:
            with self._here.transaction(mode) as connection:
                return self._transact(connection, mode, work)
        except exc.DBAPIError:  # a thread may wait for the lock, and tells what else is wrong
            return await self._on_thread(mode, work)
        finally:
            if self._here.is_due():
                self._writer.submit(self._here.restart_log)

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
                    raise _translated(error, self._what) from error
            time.sleep(random.uniform(0, 0.002 * 2**attempt))
        try:
            return self._run(mode, work)
        except exc.DBAPIError as error:
            raise _translated(error, self._what) from error

    def _run(self, mode: Mode, work: Callable[[Connection], T]) -> T:
        with self._modes[mode].connect() as connection, connection.begin():
            return self._transact(connection, mode, work)

    def _transact(self, connection: Connection, mode: Mode, work: Callable[[Connection], T]) -> T:
        try:
            self._begin(connection, mode)
            return work(connection)
        except self._driver_error as error:
            raise _wrapped(connection, error) from error

    async def close(self) -> None:
        """After the transactions under way."""
        for threads in (self._threads, self._writer):
            await asyncio.to_thread(threads.shutdown)
        if self._here is not None:
            self._here.close()
        self.engine.dispose()


def _engine(url: str, create: bool) -> Engine:
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError) as error:
        raise Unusable(f"{url!r} is no URL of a database: sqlite:///FILE or postgresql://…") from error
    match parsed.get_backend_name():
        case "sqlite":
            return sqlite.make_engine(parsed, create=create)
        case "postgresql":
            return _postgresql(parsed)
    raise Unusable(f"{parsed.drivername} is no database that can be used: sqlite:///FILE or postgresql://…")


def _what(url: URL) -> str:
    """What to call it: a file by its path; another's address has no place in messages."""
    return f"database {url.database}" if url.get_backend_name() == "sqlite" else "database"


def _postgresql(url: URL) -> Engine:
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args=_CONNECT,
        pool_size=_THREADS["postgresql"],
        pool_timeout=_PATIENCE,
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


def _translated(error: exc.DBAPIError, what: str) -> DriveError:
    """The driver's error of the database `what`, without statement and parameters, which are nobody's business."""
    text = f"{what}: {error.orig}".strip()
    code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None) or ""
    if code in ("53100", "SQLITE_FULL"):
        return StoreFull(text)
    if code.startswith(("XX001", "XX002", "SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return Damaged(text)
    if code.startswith("SQLITE_READONLY"):
        return Unreachable(f"{text}: let this user write to the file and to its folder")
    if isinstance(error, exc.OperationalError | exc.InterfaceError):
        return Unreachable(text)
    return DriveError(text)
