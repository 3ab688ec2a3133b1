"""Switching on the log of a database that others are making."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from broker.wal import switch_on


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "database")


def beginning(path: str) -> sqlite3.Connection:
    """Who is in the middle of the first transaction."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE thing (name)")
    return other


def test_who_is_at_the_beginning_is_waited_for(path: str) -> None:
    """Although SQLite refuses at once, whatever the connection's timeout."""
    other = beginning(path)
    mine = sqlite3.connect(path, timeout=30, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        mine.execute("PRAGMA journal_mode = WAL")
    done = threading.Timer(0.1, other.commit)
    done.start()
    switch_on(mine, 30)
    assert mine.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    done.join()
    other.close()
    mine.close()


def test_not_for_ever(path: str) -> None:
    other = beginning(path)
    mine = sqlite3.connect(path, timeout=0, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        switch_on(mine, 0.05)
    other.close()
    mine.close()


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"no database, but long enough to be one" * 100)
    mine = sqlite3.connect(path)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        switch_on(mine, 30)
    mine.close()
