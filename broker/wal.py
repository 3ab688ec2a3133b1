"""SQLite's write-ahead log, switched on by several at once."""

from __future__ import annotations

import sqlite3
import time

_PAUSE = 0.005


def switch_on(database: sqlite3.Connection, patience: float) -> None:
    """Have `database` keep a log (https://www.sqlite.org/wal.html); wait up to so many seconds for others' locks.

    The timeout of the connection does not count here: while another is in the middle of a first transaction, or makes
    the same change, SQLite refuses at once. sqlite3.OperationalError.
    """
    give_up = time.monotonic() + patience
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up:
                raise
        time.sleep(_PAUSE)
