"""Whether an SQLite database has changed, by a look at memory."""

from __future__ import annotations

import contextlib
import os
import sqlite3

from broker.kernel.native import Mapping

_HEADERS = 96
"""Bytes: the two copies of the header of the WAL index. Each transaction changes both, and a counter in them
(https://www.sqlite.org/walformat.html#the_wal_index_header)."""


class Changes:
    """Of a database in WAL mode. As long as this is open somebody has the database open, so that its WAL index stays
    the file that it is."""

    def __init__(self, path: str) -> None:
        """sqlite3.Error, and OSError when the index cannot be found."""
        self._database = sqlite3.connect(path, check_same_thread=False)
        try:
            self._database.execute("SELECT 1 FROM sqlite_master").fetchall()
            self.bytes = memoryview(Mapping(_open_here(f"{os.path.realpath(path)}-shm"), _HEADERS))
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """What has `bytes` may look at them afterwards, to no end."""
        self._database.close()


def _open_here(path: str) -> int:
    """The descriptor by which SQLite has the file open in this process."""
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"/proc/self/fd/{number}") == path:
                return int(number)
    raise FileNotFoundError(path)
