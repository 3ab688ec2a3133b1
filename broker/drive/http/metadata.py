"""A user's metadata behind a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from broker.drive.errors import Damaged
from broker.drive.http import messages as m
from broker.drive.http import routes
from broker.drive.http.connection import Connection
from broker.drive.metadata.protocol import (
    Below,
    Commit,
    Committed,
    DropGrant,
    Listed,
    PutEntry,
    PutGrant,
    PutNode,
    Usage,
)
from broker.drive.records import Chunk, Entry, Grant, NodeId, OperationId, StoredNode, Token, User, UserId

_Item = TypeVar("_Item")


class HttpMetadata:
    """The `MetadataStore` of the connection's user."""

    def __init__(self, connection: Connection) -> None:
        """Whoever opened the connection closes it."""
        self._connection = connection

    async def nodes(self, ids: Sequence[NodeId]) -> Mapping[NodeId, StoredNode]:
        found: dict[NodeId, StoredNode] = {}
        for part in _parts(ids):
            while part:
                answer = await self._connection.ask(routes.NODES, m.Ids(part))
                found.update((stored.node.id, stored) for stored in answer.nodes)
                part = _left(part, answer.left)
        return found

    async def lookup(self, names: Sequence[tuple[NodeId, Token]]) -> Sequence[tuple[Entry, StoredNode | None] | None]:
        found: list[tuple[Entry, StoredNode | None] | None] = []
        for part in _parts(names):
            while part:
                answer = await self._connection.ask(routes.LOOKUP, m.Lookup(part))
                found += answer.names
                part = _left(part, answer.left)
        return found

    async def list(self, folder: NodeId, after: Token | None = None, limit: int = 4000) -> Listed:
        return await self._connection.ask(routes.LIST, m.ListFolder(folder, after, min(limit, m.PAGE_MAX)))

    async def descendants(
        self, folder: NodeId, after: tuple[NodeId, Token] | None = None, limit: int = 4000
    ) -> Below:
        return await self._connection.ask(routes.DESCENDANTS, m.Descend(folder, after, min(limit, m.PAGE_MAX)))

    async def inline(self, ids: Sequence[NodeId]) -> Mapping[NodeId, tuple[int, bytes]]:
        found: dict[NodeId, tuple[int, bytes]] = {}
        for part in _parts(ids):
            answer = await self._connection.ask(routes.INLINE, m.Ids(part))
            found.update((id, (version, content)) for id, version, content in answer.contents)
        return found

    async def chunks(self, id: NodeId, version: int) -> Sequence[Chunk]:
        return (await self._connection.ask(routes.CHUNKS, m.ChunksOf(id, version))).chunks

    async def reserve(self, operation: OperationId, chunks: Sequence[Chunk], home: NodeId | None = None) -> None:
        await self._connection.ask(routes.RESERVE, m.Reserve(operation, [*chunks], home))

    async def commit(self, commit: Commit) -> Committed:
        changes = commit.changes
        request = m.Changes(
            commit.operation,
            commit.durable,
            nodes=[change for change in changes if isinstance(change, PutNode)],
            entries=[change for change in changes if isinstance(change, PutEntry)],
            grants=[change for change in changes if isinstance(change, PutGrant)],
            drops=[change for change in changes if isinstance(change, DropGrant)],
        )
        answer = await self._connection.ask(routes.COMMIT, request)
        return Committed({stored.node.id: stored for stored in answer.nodes})

    async def grants(self, node: NodeId) -> Sequence[Grant]:
        return (await self._connection.ask(routes.GRANTS, m.OneNode(node))).grants

    async def received(self) -> Sequence[tuple[Grant, StoredNode]]:
        return (await self._connection.ask(routes.RECEIVED, m.Empty())).grants

    async def user(self, wanted: UserId | str) -> User:
        request = m.Find(name=wanted) if isinstance(wanted, str) else m.Find(id=wanted)
        return await self._connection.ask(routes.USER, request)

    async def usage(self) -> Usage:
        return await self._connection.ask(routes.USAGE, m.Empty())

    async def close(self) -> None:
        """Nothing of its own is open."""


def _parts(items: Sequence[_Item]) -> Iterator[list[_Item]]:
    for start in range(0, len(items), m.IDS_MAX):
        yield [*items[start : start + m.IDS_MAX]]


def _left(asked: list[_Item], left: int) -> list[_Item]:
    """What is to be asked for again, of which there must be less each time."""
    if not 0 <= left < len(asked):
        raise Damaged("the server answers nothing of what it was asked")
    return asked[len(asked) - left :]
