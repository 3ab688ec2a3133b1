"""SQLite and file locks on a drive: several processes at once see one file and exclude each other."""

from __future__ import annotations

import pytest

from .conftest import SOURCES
from .harness import Pair, bash

WORK = str(SOURCES / "sqlite_work.py")
LOCKS = str(SOURCES / "locks.py")


@pytest.mark.parametrize("journal", ["delete", "truncate", "persist", "wal"])
def test_sqlite(pair: Pair, journal: str) -> None:
    """Transactions, roll-back, vacuum, and counting by four processes at once, in every kind of journal."""
    script = f'python3 {WORK} "$DRIVE/test.db" {journal}; cd "$DRIVE"; python3 {WORK} again.db {journal}; ls'
    outcome = pair.run(bash(script), opaque=("*.db*",), seconds=90)
    assert "200 counted" in outcome.stdout


@pytest.mark.parametrize("kind", ["posix", "ofd", "flock"])
def test_locks_between_processes(pair: Pair, kind: str) -> None:
    """A lock that one process holds refuses another, is released by close and by exit, and ranges are apart."""
    outcome = pair.run(bash(f'python3 {LOCKS} "$DRIVE/lines.txt" {kind}; cd "$DRIVE"; python3 {LOCKS} new {kind}'))
    assert "refused" in outcome.stdout
    assert "granted" in outcome.stdout
