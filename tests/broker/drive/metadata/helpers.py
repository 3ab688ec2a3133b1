"""Nodes and entries as a client would send them, with random bytes where a client seals."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pytest
from msgspec.structs import replace

from broker.drive.blobs.protocol import StoredBlob
from broker.drive.errors import DriveError
from broker.drive.format.bodies import Body
from broker.drive.format.identity import Identity, new_identity
from broker.drive.format.nodes import seal_node
from broker.drive.metadata.protocol import Change, Commit, Committed, PutEntry, PutGrant, PutNode
from broker.drive.metadata.store import SqlStore, SqlUserStore
from broker.drive.records import BlobName, Chunk, Entry, Grant, Kind, Node, NodeId, OperationId, Right, Token, UserId

Test = Callable[[SqlStore], Coroutine[Any, Any, None]]
WithStore = Callable[[Test], None]
"""Runs a test on a new store."""


def operation() -> OperationId:
    return OperationId(os.urandom(16))


def token(name: str) -> Token:
    """Of the same name in any folder."""
    return Token(sha256(name.encode()).digest())


def new_node(kind: Kind = Kind.OTHER, *, body: int = 240, inline: bool = False) -> Node:
    """The first version of a node that nobody has signed."""
    id, key = NodeId(os.urandom(16)), os.urandom(32)
    return Node(id, kind, 1, 1, os.urandom(32), key, os.urandom(body), os.urandom(64), inline)


def following(node: Node, *, rekeyed: bool = False, inline: bool | None = None) -> Node:
    """The next version of it."""
    new = replace(node, version=node.version + 1, body=os.urandom(len(node.body)))
    if rekeyed:
        new = replace(new, epoch=node.epoch + 1, verify_key=os.urandom(32), commitment=os.urandom(32))
    return new if inline is None else replace(new, inline=inline)


def new_chunk(size: int = 1000) -> Chunk:
    return Chunk(os.urandom(32), BlobName(os.urandom(16).hex()), size)


def entry(parent: NodeId, name: str | Token, child: NodeId | None, version: int = 1, *, epoch: int = 1) -> PutEntry:
    sealed = (os.urandom(125), os.urandom(61)) if child else (b"", b"")
    at = token(name) if isinstance(name, str) else name
    return PutEntry(Entry(parent, at, version, epoch, child, *sealed, os.urandom(64)))


@dataclass(frozen=True)
class Client:
    """One registered user of a store."""

    identity: Identity
    store: SqlUserStore
    root: Node

    @property
    def id(self) -> UserId:
        return self.identity.user_id

    @property
    def home(self) -> NodeId:
        return self.root.id

    async def commit(self, *changes: Change, durable: bool = False) -> Committed:
        return await self.store.commit(Commit(operation(), changes, durable))

    async def create(
        self, parent: NodeId, name: str, kind: Kind = Kind.OTHER, *, version: int = 1, epoch: int = 1
    ) -> Node:
        """An empty file or folder."""
        node = new_node(kind)
        await self.commit(PutNode(node), entry(parent, name, node.id, version, epoch=epoch))
        return node

    async def folder(self, parent: NodeId, name: str) -> Node:
        return await self.create(parent, name, Kind.FOLDER)

    async def remove(self, parent: NodeId, name: str) -> None:
        await self.commit(entry(parent, name, None, await self.next_version(parent, name)))

    async def next_version(self, parent: NodeId, name: str) -> int:
        ((found),) = await self.store.lookup([(parent, token(name))])
        return found[0].version + 1 if found else 1

    async def put_content(self, node: Node, *chunks: Chunk) -> Node:
        """The next version of a node, with chunks that are announced first unless the node has them."""
        has = {chunk.blob for chunk in await self.store.chunks(node.id, node.version)}
        home = (await self.store.nodes([node.id]))[node.id].home
        await self.store.reserve(operation(), [chunk for chunk in chunks if chunk.blob not in has], home)
        new = following(node)
        await self.commit(PutNode(new, chunks))
        return new

    async def names(self, folder: NodeId) -> dict[Token, NodeId]:
        listed = await self.store.list(folder, limit=100_000)
        return {entry.token: stored.node.id for entry, stored in listed.entries}

    def grant(self, node: NodeId, grantee: UserId, right: Right, *, epoch: int = 1) -> PutGrant:
        return PutGrant(Grant(node, grantee, self.id, right, epoch, os.urandom(120), os.urandom(64), b"label"))

    async def share(self, node: NodeId, grantee: UserId, right: Right) -> None:
        await self.commit(self.grant(node, grantee, right))


def identity_and_root(server_id: bytes, name: str) -> tuple[Identity, PutNode]:
    """A new user with the signed root of a tree."""
    identity = new_identity(name, "http://localhost:8000", server_id)
    body = Body(stat.S_IFDIR | 0o700, 0, 0)
    return identity, PutNode(seal_node(identity.home, Kind.FOLDER, 1, 1, identity.home_keys(1), body))


async def register(store: SqlStore, name: str | None = None) -> Client:
    """A user of that name, or of one that nobody has."""
    identity, root = identity_and_root(await store.accounts.server_id(), name or f"user-{os.urandom(8).hex()}")
    user = await store.accounts.register(identity.record.encode(), root)
    return Client(identity, store.for_user(user.id), root.node)


class Blobs:
    """A blob store in a dictionary: sizes only."""

    def __init__(self, sizes: Mapping[BlobName, int] | None = None) -> None:
        self.sizes = dict(sizes or {})
        self.mark: bytes | None = None

    def put(self, *chunks: Chunk) -> None:
        self.sizes |= {chunk.blob: chunk.size for chunk in chunks}

    async def delete(self, names: Sequence[BlobName]) -> None:
        for name in names:
            self.sizes.pop(name, None)

    async def list(self) -> AsyncIterator[Sequence[StoredBlob]]:
        """In pages of two."""
        found = [StoredBlob(name, size, 0.0) for name, size in self.sizes.items()]
        for start in range(0, len(found), 2):
            yield found[start : start + 2]

    async def owner(self) -> bytes | None:
        return self.mark

    async def claim(self, owner: bytes) -> None:
        self.mark = owner


async def refused(error: type[DriveError], awaited: Awaitable[object]) -> None:
    """It fails like that."""
    with pytest.raises(DriveError) as caught:
        await awaited
    assert type(caught.value) is error, caught.value
