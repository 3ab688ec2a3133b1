"""What the stores keep and the server sees: identifiers, versions and sealed bytes, never a name, content or key."""

from __future__ import annotations

from enum import IntEnum
from typing import NewType

from msgspec import Struct

NodeId = NewType("NodeId", bytes)
"""16 random bytes."""

UserId = NewType("UserId", bytes)
"""The fingerprint of an identity: SHA-256 of its public record, 32 bytes."""

Token = NewType("Token", bytes)
"""HMAC-SHA256 of a name under a key derived from its folder's read key, 32 bytes."""

BlobName = NewType("BlobName", str)
"""Random for every upload: 32 lower-case hexadecimal digits."""

OperationId = NewType("OperationId", bytes)
"""16 random bytes; a commit that is sent again with the same one finds its own success."""

INLINE_MAX = 4096
"""Plaintext bytes of a file whose content is kept beside its node."""

SEALED_MAX = 1 << 20
"""Bytes of one sealed field: what is longer is refused by every store."""


class Kind(IntEnum):
    """As much of a node's kind as the server must know to keep the tree in order."""

    OTHER = 0
    FOLDER = 1


class Right(IntEnum):
    READ = 1
    WRITE = 2


class Chunk(Struct, frozen=True):
    """One piece of a node's content that lies in the blob store. `size` is that of the sealed blob, in bytes."""

    id: bytes
    """Keyed hash of the plaintext and its index, 32 bytes."""
    blob: BlobName
    size: int


class Node(Struct, frozen=True, gc=False):
    """One version of a node. All bytes but those said otherwise are opaque to the store."""

    id: NodeId
    kind: Kind
    version: int
    """1 for a new node; grows by one with every commit of the node."""
    epoch: int
    """Of the node's read key; grows by one when it is re-keyed."""
    commitment: bytes
    """HKDF of the read key: tells a wrong key from damage."""
    verify_key: bytes
    """Ed25519 public key, 32 bytes, in the clear: the store refuses a commit that its seed has not signed."""
    body: bytes
    """Sealed attributes and chunk list."""
    signature: bytes
    """Ed25519 over `signed_part` of the node (format/commits.py), 64 bytes."""
    inline: bool = False
    """Whether content is kept beside the node (fetched by `MetadataStore.inline`)."""


class StoredNode(Struct, frozen=True, gc=False):
    """A node with what only the store knows of it."""

    node: Node
    home: NodeId
    """The root of the tree that the node belongs to."""
    links: int
    """Entries that lead to the node; 0 for a root."""
    changes: int
    """Of a folder: grows by one with every entry in it that changes."""
    changed_ns: int
    """When that was last, by the store's clock, in ns since 1970."""


class Entry(Struct, frozen=True, gc=False):
    """One name in a folder. `child` is None for a tombstone, which only keeps the version."""

    parent: NodeId
    token: Token
    version: int
    """1 for a name that never was there; grows by one with every change, also over a removal."""
    epoch: int
    """Of the parent's read key, under which token and name are made."""
    child: NodeId | None
    sealed: bytes = b""
    """Name, child's read key and verify key, under the parent's read key."""
    sealed_seed: bytes = b""
    """The child's signing seed, under the parent's write key."""
    signature: bytes = b""
    """Ed25519 by the parent's seed over the rest of the entry."""


class Grant(Struct, frozen=True):
    """What a user may do with a node and all below it. `sealed` holds the keys, for the grantee only."""

    node: NodeId
    grantee: UserId
    owner: UserId
    right: Right
    epoch: int
    """Of the node's read key."""
    sealed: bytes
    """HPKE output (RFC 9180)."""
    signature: bytes
    """Ed25519 by the owner over the rest of the grant and both keys of the grantee."""
    label: bytes = b""
    """The name under which the grantee sees the node, sealed for the grantee."""


class User(Struct, frozen=True):
    """One registered user. `record` is the public record of the identity, signed by itself."""

    id: UserId
    name: str
    record: bytes
    home: NodeId
