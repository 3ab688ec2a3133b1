"""The protocol of a metadata store: reads, and commits that change several things in one transaction or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from broker.drive.records import Chunk, Entry, Grant, Node, NodeId, OperationId, StoredNode, Token, User, UserId


class PutNode(Struct, frozen=True):
    """A node that is new (version 1) or replaces the version before it.

    `chunks` are all that its content refers to, or None: those of the version before stay. The same holds for
    `content`, the sealed inline content; b"" when there is none any more.
    """

    node: Node
    chunks: Sequence[Chunk] | None = None
    content: bytes | None = None


class PutEntry(Struct, frozen=True):
    """A name as it shall be: its version is one more than what is there (a tombstone counts, nothing counts as 0).

    With `child` None the name goes: a tombstone stays. When the last name of a node goes, so does the node; a folder
    must be empty then (FolderNotEmpty). The epoch is that of the parent, or for a tombstone that of the entry before.
    """

    entry: Entry


class PutGrant(Struct, frozen=True):
    grant: Grant


class DropGrant(Struct, frozen=True):
    node: NodeId
    grantee: UserId


Change = PutNode | PutEntry | PutGrant | DropGrant


class Commit(Struct, frozen=True):
    """Changes that happen together. Their order within the commit does not matter; checks are made on the outcome.

    Create: PutNode and PutEntry. Link: PutEntry. Move: PutEntry with child None for the old name and PutEntry for
    the new. Exchange: two PutEntry. Remove: PutEntry with child None. Re-key: PutNode with the next
    epoch, PutEntry for all its names and all names in it, those under the new epoch, and tombstones for the old ones;
    EntryChanged if one is left out.
    """

    operation: OperationId
    changes: tuple[Change, ...]
    durable: bool = True
    """Whether it must survive a power loss of the store once it has returned."""


class Committed(Struct, frozen=True):
    """The nodes that the commit touched and the folders whose entries changed, as they are afterwards."""

    nodes: Mapping[NodeId, StoredNode] = field(default_factory=dict)


class Listed(Struct, frozen=True):
    """One page of a folder: living entries with the nodes they lead to, in order of their tokens."""

    folder: StoredNode
    entries: Sequence[tuple[Entry, StoredNode]]
    after: Token | None
    """Where the next page begins; None when this was the last."""


class Below(Struct, frozen=True):
    """One page of what is below a folder, at any depth: as in `Listed`, in order of (parent, token)."""

    entries: Sequence[tuple[Entry, StoredNode]]
    after: tuple[NodeId, Token] | None
    """Where the next page begins; None when this was the last."""


class Usage(Struct, frozen=True):
    """Bytes and nodes; a limit of 0 is none."""

    bytes: int
    bytes_limit: int
    nodes: int
    nodes_limit: int


class MetadataStore(Protocol):
    """All methods raise `DriveError` and nothing else. A store belongs to one user; what that user may not see is
    Missing."""

    async def nodes(self, ids: Sequence[NodeId]) -> Mapping[NodeId, StoredNode]:
        """Those that there are."""
        ...

    async def lookup(self, names: Sequence[tuple[NodeId, Token]]) -> Sequence[tuple[Entry, StoredNode | None] | None]:
        """The entry and its node for each name; a tombstone has no node; None where there never was an entry.

        Missing when a parent is none that this user may see.
        """
        ...

    async def list(self, folder: NodeId, after: Token | None = None, limit: int = 4000) -> Listed: ...

    async def descendants(
        self, folder: NodeId, after: tuple[NodeId, Token] | None = None, limit: int = 4000
    ) -> Below:
        """All living entries below a folder, by one recursive query a page."""
        ...

    async def inline(self, ids: Sequence[NodeId]) -> Mapping[NodeId, tuple[int, bytes]]:
        """(version of the node, sealed content) of those that have inline content."""
        ...

    async def chunks(self, id: NodeId, version: int) -> Sequence[Chunk]:
        """The chunks of that version; NodeChanged when it is another one, Missing when it is gone."""
        ...

    async def reserve(self, operation: OperationId, chunks: Sequence[Chunk], home: NodeId | None = None) -> None:
        """Announce uploads, so that they are known to the collection; a commit refers to nothing else.

        QuotaExceeded before anything is sent. `home` is that of the node they are for; None is the user's own.
        """
        ...

    async def commit(self, commit: Commit) -> Committed:
        """Make the changes, or none of them. The same operation again gives the same answer."""
        ...

    async def grants(self, node: NodeId) -> Sequence[Grant]:
        """Those made on this very node (its owner only)."""
        ...

    async def received(self) -> Sequence[tuple[Grant, StoredNode]]:
        """Those made to this user, with the nodes they are for."""
        ...

    async def user(self, wanted: UserId | str) -> User:
        """By fingerprint or by name."""
        ...

    async def usage(self) -> Usage: ...

    async def close(self) -> None: ...
