"""Users of a server, with files whose content is random bytes where a client would seal it."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from broker.drive.format.bodies import Body
from broker.drive.format.entries import seal_entry
from broker.drive.format.identity import Identity, new_identity
from broker.drive.format.keys import NodeKeys, name_token, new_node_keys
from broker.drive.format.nodes import seal_node
from broker.drive.http.accounts import register
from broker.drive.http.blobs import HttpBlobs
from broker.drive.http.connection import Connection, Options
from broker.drive.http.metadata import HttpMetadata
from broker.drive.http.retrying import Patience
from broker.drive.metadata.protocol import Change, Commit, Committed, PutEntry, PutNode
from broker.drive.records import BlobName, Chunk, Kind, Node, NodeId, OperationId

HASTY = Options(patience=Patience(total=0.0))
"""For tests of what is refused: nothing is tried twice."""


def operation() -> OperationId:
    return OperationId(os.urandom(16))


def chunk_of(index: int, data: bytes) -> Chunk:
    """With an id by which `Person.load` finds the order again: stores keep none."""
    return Chunk(index.to_bytes(4, "big") + sha256(data).digest()[4:], BlobName(os.urandom(16).hex()), len(data))


def root_of(identity: Identity) -> PutNode:
    body = Body(stat.S_IFDIR | 0o700, 0, 0)
    return PutNode(seal_node(identity.home, Kind.FOLDER, 1, 1, identity.home_keys(1), body))


@dataclass
class File:
    """What its owner knows of it."""

    id: NodeId
    keys: NodeKeys
    version: int = 0
    entry_version: int = 0


@dataclass
class Person:
    """A registered user with a connection."""

    identity: Identity
    connection: Connection
    metadata: HttpMetadata
    blobs: HttpBlobs
    files: dict[bytes, File] = field(default_factory=dict)

    @property
    def home(self) -> NodeId:
        return self.identity.home

    async def commit(self, *changes: Change) -> Committed:
        return await self.metadata.commit(Commit(operation(), changes))

    async def save(self, name: bytes, contents: Sequence[bytes]) -> Node:
        """A file in the home, new or with new content: uploaded, and then committed."""
        chunks = [chunk_of(index, data) for index, data in enumerate(contents)]
        await self.upload(chunks, contents)
        return await self.refer(name, chunks)

    async def upload(self, chunks: Sequence[Chunk], contents: Sequence[bytes]) -> None:
        await self.metadata.reserve(operation(), chunks)
        await asyncio.gather(*(self.blobs.put(c.blob, data) for c, data in zip(chunks, contents, strict=True)))

    async def refer(self, name: bytes, chunks: Sequence[Chunk]) -> Node:
        """The commit that makes them the content of a file."""
        file = self.files.get(name) or File(NodeId(os.urandom(16)), new_node_keys())
        body = Body(stat.S_IFREG | 0o600, 0, 0)
        node = seal_node(file.id, Kind.OTHER, file.version + 1, 1, file.keys, body)
        changes: list[Change] = [PutNode(node, chunks)]
        if not file.version:
            home_keys = self.identity.home_keys(1)
            entry = seal_entry(self.home, home_keys, file.entry_version + 1, 1, name, file.id, file.keys)
            changes.append(PutEntry(entry))
        await self.commit(*changes)
        file.version += 1
        file.entry_version = file.entry_version or 1
        self.files[name] = file
        return node

    async def load(self, name: bytes) -> list[bytes] | None:
        """The content of a file by its name; None where there is none."""
        ((found),) = await self.metadata.lookup([(self.home, name_token(self.identity.home_keys(1), name))])
        if found is None or found[1] is None:
            return None
        node = found[1].node
        chunks = sorted(await self.metadata.chunks(node.id, node.version), key=lambda chunk: chunk.id)
        return list(await asyncio.gather(*(self.blobs.get(chunk.blob) for chunk in chunks)))

    async def close(self) -> None:
        await self.blobs.close()
        await self.connection.close()


async def person(url: str, name: str | None = None, options: Options | None = None, invitation: str = "") -> Person:
    """A new user of the server at `url`."""
    stranger = Connection(url, options=options)
    about = await stranger.server()
    identity = new_identity(name or f"user-{os.urandom(6).hex()}", about.origin, about.server_id)
    await register(stranger, identity.record.encode(), root_of(identity), invitation or None)
    await stranger.close()
    return known(url, identity, options)


def known(url: str, identity: Identity, options: Options | None = None) -> Person:
    connection = Connection(url, identity, options)
    return Person(identity, connection, HttpMetadata(connection), HttpBlobs(connection))
