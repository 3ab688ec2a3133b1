"""SQLite's small transactions without a thread: they wait for nobody, and their log does not grow."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from broker.drive.errors import DriveError
from broker.drive.metadata.store import SqlStore, open_store
from tests.broker.drive.metadata.helpers import register


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SqlStore]:
    store = await open_store(f"sqlite:///{folder}/metadata.sqlite", create=True, signed=None, at_once=True)
    try:
        yield store
    finally:
        await store.close()


def _thread(connection: Connection) -> int:
    connection.execute(text("UPDATE store SET version = version"))
    return threading.get_ident()


@pytest.mark.anyio
async def test_where_they_run(tmp_path: Path) -> None:
    """On the caller's thread; a transaction that another process's lock stops runs on another one, and the loop goes
    on meanwhile."""
    async with opened(tmp_path) as store:
        assert await store.database.write_some(1, _thread) == threading.get_ident()
        with closing(sqlite3.connect(tmp_path / "metadata.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = asyncio.ensure_future(store.database.write_some(1, _thread))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            other.execute("COMMIT")
        assert await waiting != threading.get_ident()
        assert await store.database.write_some(1, _thread) == threading.get_ident()


@pytest.mark.anyio
async def test_errors_undo_and_are_told_as_elsewhere(tmp_path: Path) -> None:
    """An error of the work itself, and one of the database's: nothing is left of either, and the next one works."""

    def fail(connection: Connection) -> None:
        connection.execute(text("UPDATE store SET version = 1000"))
        raise KeyError("work")

    def wrong(connection: Connection) -> None:
        connection.execute(text("UPDATE store SET version = 1000"))
        connection.execute(text("UPDATE store SET id = NULL"))

    def version(connection: Connection) -> int:
        return int(connection.execute(text("SELECT version FROM store")).scalar_one())

    async with opened(tmp_path) as store:
        with pytest.raises(KeyError):
            await store.database.write_some(1, fail)
        with pytest.raises(DriveError):
            await store.database.write_some(1, wrong)
        assert await store.database.read_some(1, version) < 1000


@pytest.mark.anyio
async def test_the_log_does_not_grow(tmp_path: Path) -> None:
    """Of 1,000 new files the log keeps no more than a few hundred would write: it is copied, and begun anew."""
    sizes = []
    async with opened(tmp_path) as store:
        alice = await register(store)
        for number in range(1000):
            await alice.create(alice.home, f"file {number}")
            if number % 100 == 99:
                await asyncio.get_running_loop().run_in_executor(store.database._writer, int)  # after the copying
                sizes.append(os.stat(tmp_path / "metadata.sqlite-wal").st_size)
    assert max(sizes) < 4 * sizes[0]
