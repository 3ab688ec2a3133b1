"""A metadata store in an SQL database: what each user asks of it, and how it is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection, bindparam, select

from broker.drive.errors import Malformed, Missing
from broker.drive.format.commits import node_is_signed
from broker.drive.metadata import accounts, committing, granting, reading, references, schema
from broker.drive.metadata.accounts import SqlAccounts, Terms
from broker.drive.metadata.database import FEW, Database
from broker.drive.metadata.protocol import Below, Commit, Committed, Listed, PutNode, Usage
from broker.drive.metadata.serving import Accounts, UserStore
from broker.drive.metadata.validation import check_chunks, check_commit, check_ids, check_names
from broker.drive.records import (
    BlobName,
    Chunk,
    Entry,
    Grant,
    Node,
    NodeId,
    OperationId,
    StoredNode,
    Token,
    User,
    UserId,
)

Signed = Callable[[Node], bool]
"""Whether the node's own verify key has signed it."""


class SqlStore:
    """`MetadataServer` (serving.py) in a database, shared by any number of processes."""

    def __init__(self, database: Database, server_id: bytes, terms: Terms, signed: Signed | None) -> None:
        self.database = database
        self._accounts = SqlAccounts(database, server_id, terms)
        self._signed = signed

    @property
    def accounts(self) -> Accounts:
        return self._accounts

    def for_user(self, user: UserId) -> UserStore:
        return SqlUserStore(self.database, user, self._signed)

    async def check(self) -> None:
        await self.database.read(_ping)

    async def close(self) -> None:
        await self.database.close()


async def open_store(
    url: str,
    *,
    create: bool = False,
    terms: Terms | None = None,
    signed: Signed | None = node_is_signed,
    at_once: bool = False,
) -> SqlStore:
    """The store at ``sqlite:///FILE`` or ``postgresql://…``; with `create` it is made if there is none.

    `signed` checks every node that is committed; None where the client is this process, and checks at the next open.
    `at_once` as in `Database`. Unusable, with what to do, when the database is none or has another schema;
    Unreachable.
    """
    database = Database(url, create=create, at_once=at_once)
    try:
        if create and await database.read(schema.found_version) is None:
            await database.write_durably(schema.create)
        server_id = await database.read(_server_id)
    except BaseException:
        await database.close()
        raise
    return SqlStore(database, server_id, terms or Terms(), signed)


def _server_id(connection: Connection) -> bytes:
    schema.check(connection)
    return bytes(connection.execute(select(schema.store.c.server_id)).scalar_one())


def _ping(connection: Connection) -> None:
    connection.execute(select(1))


class SqlUserStore:
    """`UserStore` (serving.py): every method is one transaction, in which the user's rights are looked at, too."""

    def __init__(self, database: Database, user: UserId, signed: Signed | None) -> None:
        self._database = database
        self._user = user
        self._signed = signed

    async def nodes(self, ids: Sequence[NodeId]) -> Mapping[NodeId, StoredNode]:
        check_ids(ids)
        return await self._database.read_some(len(ids), reading.nodes_of, self._user, ids)

    async def lookup(self, names: Sequence[tuple[NodeId, Token]]) -> Sequence[tuple[Entry, StoredNode | None] | None]:
        check_names(names)
        return await self._database.read_some(len(names), reading.lookup, self._user, names)

    async def list(self, folder: NodeId, after: Token | None = None, limit: int = 4000) -> Listed:
        check_ids([folder])
        reading.check_limit(limit)
        if after is None and limit > FEW:  # most folders are short
            listed = await self._database.read_some(FEW, reading.listing, self._user, folder, None, FEW)
            if listed.after is None or len(listed.entries) < FEW:
                return listed
        return await self._database.read(reading.listing, self._user, folder, after, limit)

    async def descendants(
        self, folder: NodeId, after: tuple[NodeId, Token] | None = None, limit: int = 4000
    ) -> Below:
        check_ids([folder])
        return await self._database.read(reading.descendants, self._user, folder, after, limit)

    async def inline(self, ids: Sequence[NodeId]) -> Mapping[NodeId, tuple[int, bytes]]:
        check_ids(ids)
        return await self._database.read_some(len(ids), reading.inline, self._user, ids)

    async def chunks(self, id: NodeId, version: int) -> Sequence[Chunk]:
        check_ids([id])
        return await self._database.read(references.of, self._user, id, version)

    async def reserve(self, operation: OperationId, chunks: Sequence[Chunk], home: NodeId | None = None) -> None:
        check_chunks(chunks)
        # Not durably: a power loss that takes this takes the commit that follows, and the blobs are found without it.
        await self._database.write(references.reserve, self._user, operation, chunks, home)

    async def commit(self, commit: Commit) -> Committed:
        check_commit(commit)
        if self._signed:
            await asyncio.to_thread(_check_signatures, commit, self._signed)
        if commit.durable:
            return await self._database.write_durably(committing.commit, self._user, commit)
        rows = sum(1 + len(change.chunks or ()) if isinstance(change, PutNode) else 1 for change in commit.changes)
        return await self._database.write_some(rows, committing.commit, self._user, commit)

    async def grants(self, node: NodeId) -> Sequence[Grant]:
        check_ids([node])
        return await self._database.read(granting.made, self._user, node)

    async def received(self) -> Sequence[tuple[Grant, StoredNode]]:
        return await self._database.read(granting.received, self._user)

    async def user(self, wanted: UserId | str) -> User:
        return await self._database.read(accounts.find, wanted)

    async def usage(self) -> Usage:
        return await self._database.read(_usage, self._user)

    async def readable(self, blobs: Sequence[BlobName]) -> Sequence[BlobName]:
        return await self._database.read(references.readable, self._user, blobs)

    async def expected(self, blob: BlobName) -> int:
        return await self._database.read(references.expected, self._user, blob)

    async def close(self) -> None:
        """The database stays open for other users: `SqlStore.close`."""


def _check_signatures(commit: Commit, signed: Signed) -> None:
    for change in commit.changes:
        if isinstance(change, PutNode) and not signed(change.node):
            raise Malformed("a node is not signed by its own key")


_h = schema.homes.c
_limits = select(_h.bytes, _h.bytes_limit, _h.nodes, _h.nodes_limit).where(_h.owner == bindparam("user"))


def _usage(connection: Connection, user: UserId) -> Usage:
    row = connection.execute(_limits, {"user": user}).first()
    if row is None:
        raise Missing("no such user")
    return Usage(*row)
