"""The tables of a metadata store, the same on SQLite and PostgreSQL; which version of them a database has."""

from __future__ import annotations

import os
from enum import IntEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    func,
    insert,
    inspect,
    select,
)

from broker.drive.errors import Unusable
from broker.drive.metadata.clock import now_ns

VERSION = 1
"""Of the tables below. A change of them needs a step in migrations.py."""


_ONLY = "only"
"""Of an index in its `info`: the condition on the rows that are in it."""
_CREATING = 0x5EC0
"""PostgreSQL's number for "the tables are being made": before there is a table, there is no row to lock."""


class State(IntEnum):
    """What a blob is to the store. Only the first two count against a quota."""

    RESERVED = 0
    """Announced by a user; perhaps uploaded, referred to by nothing."""
    LIVE = 1
    """Referred to by the present version of its node."""
    DEAD = 2
    """Referred to no more, or never: goes when the grace is over."""
    CONDEMNED = 3
    """About to be deleted, or just deleted: cannot come back."""


class Bytes(LargeBinary):
    """Both drivers take and give bytes as they are."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        return None

    def result_processor(self, dialect: Dialect, coltype: Any) -> None:
        return None


metadata = MetaData()

store = Table(
    "store",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("server_id", Bytes, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("id", Bytes, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("record", Bytes, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
)

homes = Table(
    "homes",
    metadata,
    Column("id", Bytes, primary_key=True),
    Column("owner", Bytes, ForeignKey("users.id", ondelete="RESTRICT"), nullable=False, unique=True),
    Column("bytes", BigInteger, nullable=False),
    Column("bytes_limit", BigInteger, nullable=False),
    Column("nodes", BigInteger, nullable=False),
    Column("nodes_limit", BigInteger, nullable=False),
)
"""The root of each user's tree, whose row is the lock of all that is in it."""

nodes = Table(
    "nodes",
    metadata,
    Column("id", Bytes, primary_key=True),
    Column("home", Bytes, ForeignKey("homes.id", ondelete="RESTRICT"), nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("commitment", Bytes, nullable=False),
    Column("verify_key", Bytes, nullable=False),
    Column("body", Bytes, nullable=False),
    Column("signature", Bytes, nullable=False),
    Column("inline", Boolean, nullable=False),
    Column("links", Integer, nullable=False),
    Column("changes", BigInteger, nullable=False),
    Column("changed_ns", BigInteger, nullable=False),
    Column("charged", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""`charged`: bytes of body and inline content, as they count in the home's."""

contents = Table(
    "contents",
    metadata,
    Column("node", Bytes, ForeignKey("nodes.id", ondelete="RESTRICT"), primary_key=True),
    Column("sealed", Bytes, nullable=False),
)
"""Inline contents: not beside the nodes, so that a listing does not read them."""

entries = Table(
    "entries",
    metadata,
    Column("parent", Bytes, ForeignKey("nodes.id", ondelete="RESTRICT"), primary_key=True),
    Column("token", Bytes, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("child", Bytes, ForeignKey("nodes.id", ondelete="RESTRICT")),
    Column("sealed", Bytes, nullable=False),
    Column("sealed_seed", Bytes, nullable=False),
    Column("signature", Bytes, nullable=False),
    sqlite_with_rowid=False,
)
Index("entries_child", entries.c.child, info={_ONLY: entries.c.child.is_not(None)})

chunks = Table(
    "chunks",
    metadata,
    Column("blob", String, primary_key=True),
    Column("id", Bytes, nullable=False),
    Column("node", Bytes),
    Column("home", Bytes, ForeignKey("homes.id", ondelete="RESTRICT")),
    Column("uploader", Bytes, ForeignKey("users.id", ondelete="RESTRICT")),
    Column("size", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("since_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""`node` is no foreign key: it stays when the node has gone, and of what is RESERVED it is the operation that has
announced it, since there may be no node yet. `home` and `uploader` are unknown of a blob that was
found without a row."""
Index("chunks_node", chunks.c.node, chunks.c.id, info={_ONLY: chunks.c.state == State.LIVE.value})
Index("chunks_since", chunks.c.state, chunks.c.since_ns, info={_ONLY: chunks.c.state != State.LIVE.value})

operations = Table(
    "operations",
    metadata,
    Column("user", Bytes, primary_key=True),
    Column("id", Bytes, primary_key=True),
    Column("since_ns", BigInteger, nullable=False),
    Column("answer", Bytes, nullable=False),
    sqlite_with_rowid=False,
)

grants = Table(
    "grants",
    metadata,
    Column("node", Bytes, ForeignKey("nodes.id", ondelete="RESTRICT"), primary_key=True),
    Column("grantee", Bytes, ForeignKey("users.id", ondelete="RESTRICT"), primary_key=True),
    Column("owner", Bytes, ForeignKey("users.id", ondelete="RESTRICT"), nullable=False),
    Column("right", SmallInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("sealed", Bytes, nullable=False),
    Column("signature", Bytes, nullable=False),
    Column("label", Bytes, nullable=False),
)
Index("grants_grantee", grants.c.grantee)

challenges = Table(
    "challenges",
    metadata,
    Column("nonce", Bytes, primary_key=True),
    Column("expires", BigInteger, nullable=False, index=True),
)

tokens = Table(
    "tokens",
    metadata,
    Column("hash", Bytes, primary_key=True),
    Column("user", Bytes, ForeignKey("users.id", ondelete="RESTRICT"), nullable=False),
    Column("expires", BigInteger, nullable=False, index=True),
)

invitations = Table(
    "invitations",
    metadata,
    Column("hash", Bytes, primary_key=True),
    Column("created_ns", BigInteger, nullable=False),
    Column("used_by", Bytes, ForeignKey("users.id", ondelete="RESTRICT")),
    UniqueConstraint("used_by"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", Bytes, nullable=False),
    Column("expires_ns", BigInteger, nullable=False),
)
"""Locks over several transactions, which end by themselves when their holder has died."""


inventory = Table(
    "inventory",
    metadata,
    Column("scan", Bytes, primary_key=True),
    Column("blob", String, primary_key=True),
    Column("size", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""What the blob store has, while a check compares it with what it should have."""


def create(connection: Connection) -> None:
    """All tables and the store's identity, unless somebody else has made them just now."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_CREATING)))
    if found_version(connection) is not None:
        return
    _make_partial(connection.dialect)
    metadata.create_all(connection)
    row = {"id": 1, "version": VERSION, "server_id": os.urandom(16), "created_ns": now_ns()}
    connection.execute(insert(store).values(row))


def _make_partial(dialect: Dialect) -> None:
    """Not where the indices stand: SQLAlchemy loads all drivers of each database that has an argument there."""
    for table in metadata.tables.values():
        for index in table.indexes:
            if _ONLY in index.info:
                index.dialect_options[dialect.name]["where"] = index.info[_ONLY]


def found_version(connection: Connection) -> int | None:
    """Of the schema in a database; None when there is none."""
    if not inspect(connection).has_table(store.name):
        return None
    return int(connection.scalars(select(store.c.version)).one())


def check(connection: Connection) -> None:
    """Unusable, saying what to do, unless the database has the tables that this program knows."""
    version = found_version(connection)
    if version is None:
        raise Unusable("the database is empty: seccomp-drive serve creates the store when it starts with it")
    if version < VERSION:
        raise Unusable(f"the database has schema {version}, this program needs {VERSION}: migrate it first")
    if version > VERSION:
        raise Unusable(f"the database has schema {version}, this program knows {VERSION}: use a newer program")
