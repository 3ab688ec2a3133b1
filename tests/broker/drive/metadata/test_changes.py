"""The bytes that show whether an SQLite database has changed."""

from __future__ import annotations

import gc
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from broker.drive.metadata.changes import Changes


def opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, timeout=0)
    database.execute("PRAGMA journal_mode = WAL")
    return database


def elsewhere(path: Path, statement: str) -> str:
    """What another process says when it executes that."""
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0).execute(sys.argv[2])"
    return subprocess.run([sys.executable, "-c", script, str(path), statement], capture_output=True, text=True).stderr


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with closing(opened(tmp_path / "database")) as database:
        database.execute("CREATE TABLE number (value INTEGER)")
    return tmp_path / "database"


def test_every_change_shows(path: Path) -> None:
    """Of this process and of others, also when these are the last to close the database; reading is none."""
    changes = Changes(str(path))
    states = [bytes(changes.bytes)]
    for number in range(5):
        with closing(opened(path)) as database:
            database.execute(f"INSERT INTO number VALUES ({number})")
            states.append(bytes(changes.bytes))
            assert len(database.execute("SELECT * FROM number").fetchall()) == 2 * number + 1
            database.execute("PRAGMA wal_checkpoint(RESTART)")
        assert not elsewhere(path, "INSERT INTO number VALUES (0)")
        states.append(bytes(changes.bytes))
        assert not elsewhere(path, "SELECT * FROM number")
        assert bytes(changes.bytes) == states[-1]
    assert len(set(states)) == len(states)
    changes.close()


def test_what_is_not_committed_is_no_change(path: Path) -> None:
    """It shows when others would see it."""
    changes = Changes(str(path))
    with closing(opened(path)) as database:
        before = bytes(changes.bytes)
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO number VALUES (1)")
        assert bytes(changes.bytes) == before
        database.execute("COMMIT")
        assert bytes(changes.bytes) != before
    changes.close()


def test_locks_stay(path: Path) -> None:
    """To close any descriptor of the index would take those of this process away (fcntl(2))."""
    with closing(opened(path)) as database:
        database.execute("BEGIN IMMEDIATE")
        changes = Changes(str(path))
        changes.close()
        del changes
        gc.collect()
        assert "database is locked" in elsewhere(path, "BEGIN IMMEDIATE")
        database.execute("COMMIT")
        assert not elsewhere(path, "BEGIN IMMEDIATE")


def test_a_database_without_a_log(tmp_path: Path) -> None:
    """It has no index to look at."""
    with closing(sqlite3.connect(tmp_path / "plain")) as database:
        database.execute("CREATE TABLE number (value INTEGER)")
    with pytest.raises(FileNotFoundError):
        Changes(str(tmp_path / "plain"))
