"""What is asked of a server and what it answers, beside the records themselves.

A request is checked against these types when it is decoded; the records within, by the metadata store.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from broker.drive.metadata.protocol import DropGrant, PutEntry, PutGrant, PutNode
from broker.drive.records import BlobName, Chunk, Entry, Grant, NodeId, OperationId, StoredNode, Token, UserId

IDS_MAX = 1000
"""Nodes, names or blobs of one request."""

PAGE_MAX = 10_000
"""Entries of one page."""

Id = Annotated[NodeId, Meta(min_length=16, max_length=16)]
NameToken = Annotated[Token, Meta(min_length=32, max_length=32)]
User32 = Annotated[UserId, Meta(min_length=32, max_length=32)]
Operation = Annotated[OperationId, Meta(min_length=16, max_length=16)]
Name = Annotated[BlobName, Meta(min_length=32, max_length=32, pattern="^[0-9a-f]{32}$")]
Version = Annotated[int, Meta(ge=0, le=1 << 62)]
Limit = Annotated[int, Meta(ge=1, le=PAGE_MAX)]


class Message(Struct, frozen=True, forbid_unknown_fields=True):
    """Fields that nobody knows are refused: a client that needs them must learn that they have no effect."""


class Empty(Message, frozen=True):
    """Nothing more is to be said."""


class Server(Message, frozen=True):
    """What a client must know before it registers. `links` says whether blobs may be fetched by links."""

    server_id: bytes
    origin: str
    invitation: bool
    links: bool


class Register(Message, frozen=True):
    record: Annotated[bytes, Meta(max_length=4096)]
    home: PutNode
    invitation: Annotated[str, Meta(max_length=256)] | None = None


class Login(Message, frozen=True):
    user: User32
    nonce: Annotated[bytes, Meta(max_length=64)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Ids(Message, frozen=True):
    ids: Annotated[list[Id], Meta(max_length=IDS_MAX)]


class OneNode(Message, frozen=True):
    node: Id


class Lookup(Message, frozen=True):
    names: Annotated[list[tuple[Id, NameToken]], Meta(max_length=IDS_MAX)]


class ListFolder(Message, frozen=True):
    folder: Id
    after: NameToken | None = None
    limit: Limit = 4000


class Descend(Message, frozen=True):
    folder: Id
    after: tuple[Id, NameToken] | None = None
    limit: Limit = 4000


class ChunksOf(Message, frozen=True):
    id: Id
    version: Version


class Reserve(Message, frozen=True):
    operation: Operation
    chunks: list[Chunk]
    home: Id | None = None


class Changes(Message, frozen=True):
    """A commit, its changes by kind: their order does not matter."""

    operation: Operation
    durable: bool = True
    nodes: list[PutNode] = []
    entries: list[PutEntry] = []
    grants: list[PutGrant] = []
    drops: list[DropGrant] = []


class Find(Message, frozen=True):
    """A user, by one of the two."""

    id: User32 | None = None
    name: Annotated[str, Meta(max_length=256)] | None = None


class Blobs(Message, frozen=True):
    names: Annotated[list[Name], Meta(max_length=IDS_MAX)]


class Nodes(Message, frozen=True):
    nodes: list[StoredNode]
    left: int = 0
    """How many of the last that were asked for have not been looked for: the answer would be too long."""


class Names(Message, frozen=True):
    names: list[tuple[Entry, StoredNode | None] | None]
    left: int = 0
    """As in `Nodes`."""


class Inline(Message, frozen=True):
    """Node, its version, and its sealed content."""

    contents: list[tuple[Id, int, bytes]]


class Chunks(Message, frozen=True):
    chunks: list[Chunk]


class Grants(Message, frozen=True):
    grants: list[Grant]


class Received(Message, frozen=True):
    grants: list[tuple[Grant, StoredNode]]


class Links(Message, frozen=True):
    """One for each name that was asked for; None for what the user may not read, or does not exist."""

    links: list[str | None]


class Failure(Message, frozen=True):
    """The body of every answer that is no success. `code` is that of the `DriveError`."""

    code: str
    message: str


class Health(Message, frozen=True):
    status: str
