"""The database's clock in SQL, so that any number of clients and servers go by one time."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from sqlalchemy import BigInteger, Connection, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

SECOND = 1_000_000_000
"""Nanoseconds."""


class now_ns(FunctionElement[int]):  # noqa: N801 (a function of SQL)
    """Nanoseconds since 1970, as they pass within a transaction, too."""

    type = BigInteger()
    inherit_cache = True


@compiles(now_ns, "sqlite")
def _sqlite(element: now_ns, compiler: Any, **options: Any) -> str:
    return "now_ns()"


@compiles(now_ns, "postgresql")
def _postgresql(element: now_ns, compiler: Any, **options: Any) -> str:
    # EXTRACT is numeric since PostgreSQL 14: a double would lose the nanoseconds.
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000000 AS bigint)"


_now = select(now_ns())


def now(connection: Connection) -> int:
    """The database's clock, in ns since 1970."""
    return int(connection.execute(_now).scalar_one())


def provide(connection: sqlite3.Connection) -> None:
    """SQLite's own functions give milliseconds; its clock is this machine's."""
    connection.create_function("now_ns", 0, time.time_ns)
