"""Stores in memory that a test can look into and tamper with: the honest model, and the malicious server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from broker.drive import errors
from broker.drive.blobs.protocol import StoredBlob
from broker.drive.metadata.protocol import Below, Commit, Committed, Listed, PutEntry, PutNode, Usage
from broker.drive.records import (
    BlobName,
    Chunk,
    Entry,
    Grant,
    Kind,
    Node,
    NodeId,
    OperationId,
    StoredNode,
    Token,
    User,
    UserId,
)


class Row(Struct):
    """One node with all that is kept beside it."""

    node: Node
    home: NodeId
    changes: int = 0
    changed_ns: int = field(default_factory=time.time_ns)
    chunks: Sequence[Chunk] = ()
    content: bytes = b""


Snapshot = tuple[dict[NodeId, Row], dict[tuple[NodeId, Token], Entry]]


class MemoryStore:
    """One user's metadata. `asked` counts the requests by name."""

    def __init__(self, root: Node) -> None:
        self.rows: dict[NodeId, Row] = {root.id: Row(root, root.id)}
        self.entries: dict[tuple[NodeId, Token], Entry] = {}
        self.root = root.id
        self.asked: Counter[str] = Counter()
        self.done: dict[OperationId, Committed] = {}
        self.durable = True
        """Whether a power loss takes nothing back."""

    async def nodes(self, ids: Sequence[NodeId]) -> Mapping[NodeId, StoredNode]:
        self.asked["nodes"] += 1
        return {id: self.stored(id) for id in ids if id in self.rows}

    async def lookup(self, names: Sequence[tuple[NodeId, Token]]) -> Sequence[tuple[Entry, StoredNode | None] | None]:
        self.asked["lookup"] += 1
        if any(parent not in self.rows for parent, _ in names):
            raise errors.Missing("no such folder")
        found = [self.entries.get(name) for name in names]
        return [entry and (entry, self.stored(entry.child) if entry.child else None) for entry in found]

    async def list(self, folder: NodeId, after: Token | None = None, limit: int = 4000) -> Listed:
        self.asked["list"] += 1
        if folder not in self.rows:
            raise errors.Missing("no such folder")
        living = sorted(
            (token, entry)
            for (parent, token), entry in self.entries.items()
            if parent == folder and entry.child and token > (after or b"")
        )
        page = [(entry, self.stored(entry.child)) for _, entry in living[:limit] if entry.child]
        return Listed(self.stored(folder), page, living[limit - 1][0] if len(living) > limit else None)

    async def descendants(
        self, folder: NodeId, after: tuple[NodeId, Token] | None = None, limit: int = 4000
    ) -> Below:
        self.asked["descendants"] += 1
        below = {folder}
        found: dict[tuple[NodeId, Token], Entry] = {}
        while True:
            new = {key: entry for key, entry in self.entries.items() if key[0] in below and entry.child}
            if len(new) == len(found):
                break
            found = new
            below |= {entry.child for entry in found.values() if entry.child}
        keys = [key for key in sorted(found) if after is None or key > after]
        page = [(found[key], self.stored(child)) for key in keys[:limit] if (child := found[key].child)]
        return Below(page, keys[limit - 1] if len(keys) > limit else None)

    async def inline(self, ids: Sequence[NodeId]) -> Mapping[NodeId, tuple[int, bytes]]:
        self.asked["inline"] += 1
        rows = {id: self.rows[id] for id in ids if id in self.rows}
        return {id: (row.node.version, row.content) for id, row in rows.items() if row.node.inline}

    async def chunks(self, id: NodeId, version: int) -> Sequence[Chunk]:
        self.asked["chunks"] += 1
        if id not in self.rows:
            raise errors.Missing("no such node")
        if self.rows[id].node.version != version:
            raise errors.NodeChanged("another version")
        return self.rows[id].chunks

    async def reserve(self, operation: OperationId, chunks: Sequence[Chunk], home: NodeId | None = None) -> None:
        self.asked["reserve"] += 1

    async def commit(self, commit: Commit) -> Committed:
        self.asked["commit"] += 1
        self.durable = commit.durable
        if commit.operation in self.done:
            return self.done[commit.operation]
        nodes = [change for change in commit.changes if isinstance(change, PutNode)]
        entries = [change for change in commit.changes if isinstance(change, PutEntry)]
        self._check(nodes, entries)
        touched = self._put_nodes(nodes) | self._put_entries(entries)
        for put in entries:
            touched |= {put.entry.child} if put.entry.child else set()
        self._drop_unnamed()
        self.done[commit.operation] = Committed({id: self.stored(id) for id in touched if id in self.rows})
        return self.done[commit.operation]

    async def grants(self, node: NodeId) -> Sequence[Grant]:
        return []

    async def received(self) -> Sequence[tuple[Grant, StoredNode]]:
        return []

    async def user(self, wanted: UserId | str) -> User:
        raise errors.Missing("no such user")

    async def usage(self) -> Usage:
        return Usage(0, 0, len(self.rows), 0)

    async def close(self) -> None:
        """Nothing is held."""

    def snapshot(self) -> Snapshot:
        """All that is stored, as a backup has it."""
        return {id: replace(row) for id, row in self.rows.items()}, dict(self.entries)

    def restore(self, snapshot: Snapshot) -> None:
        rows, entries = snapshot
        self.rows, self.entries = {id: replace(row) for id, row in rows.items()}, dict(entries)

    def stored(self, id: NodeId) -> StoredNode:
        row = self.rows[id]
        links = sum(entry.child == id for entry in self.entries.values())
        return StoredNode(row.node, row.home, links, row.changes, row.changed_ns)

    def _check(self, nodes: Sequence[PutNode], entries: Sequence[PutEntry]) -> None:
        for change in nodes:
            before = self.rows.get(change.node.id)
            if change.node.version != (before.node.version + 1 if before else 1):
                raise errors.NodeChanged("another version")
        made = {change.node.id for change in nodes}
        outcome = dict(self.entries)
        for put in entries:
            entry = put.entry
            if entry.parent not in self.rows:
                raise errors.Missing("no such folder")
            if self.rows[entry.parent].node.kind is not Kind.FOLDER:
                raise errors.WrongKind("no folder")
            known = self.entries.get((entry.parent, entry.token))
            if entry.version != (known.version + 1 if known else 1):
                raise errors.EntryChanged("another version")
            if entry.child and entry.child not in self.rows and entry.child not in made:
                raise errors.Missing("no such node")
            outcome[entry.parent, entry.token] = entry
        for put in entries:
            known = self.entries.get((put.entry.parent, put.entry.token))
            child = known.child if known else None
            gone = child and not any(entry.child == child for entry in outcome.values())
            if gone and any(entry.parent == child and entry.child for entry in outcome.values()):
                raise errors.FolderNotEmpty("it has entries")
        self._check_cycles(outcome)

    def _check_cycles(self, entries: Mapping[tuple[NodeId, Token], Entry]) -> None:
        parents: dict[NodeId, NodeId] = {}
        for entry in entries.values():
            if entry.child and entry.child in self.rows and self.rows[entry.child].node.kind is Kind.FOLDER:
                parents[entry.child] = entry.parent
        for start in parents:
            node, steps = start, 0
            while node in parents:
                node, steps = parents[node], steps + 1
                if steps > len(parents):
                    raise errors.Cycle("below itself")

    def _put_nodes(self, changes: Sequence[PutNode]) -> set[NodeId]:
        for change in changes:
            row = self.rows.setdefault(change.node.id, Row(change.node, self.root))
            row.node = change.node
            row.chunks = row.chunks if change.chunks is None else change.chunks
            row.content = row.content if change.content is None else change.content
        return {change.node.id for change in changes}

    def _put_entries(self, changes: Sequence[PutEntry]) -> set[NodeId]:
        for put in changes:
            self.entries[put.entry.parent, put.entry.token] = put.entry
            folder = self.rows[put.entry.parent]
            folder.changes += 1
            folder.changed_ns = time.time_ns()
        return {put.entry.parent for put in changes}

    def _drop_unnamed(self) -> None:
        named = {entry.child for entry in self.entries.values()} | {self.root}
        for id in [id for id in self.rows if id not in named]:
            del self.rows[id]
            for key in [key for key in self.entries if key[0] == id]:
                del self.entries[key]


class MemoryBlobs:
    """`passing` are those that a power loss would take."""

    def __init__(self) -> None:
        self.blobs: dict[BlobName, bytes] = {}
        self.passing: set[BlobName] = set()
        self.mark: bytes | None = None

    async def put(self, name: BlobName, data: bytes | memoryview, *, durable: bool = True) -> None:
        self.blobs[name] = bytes(data)
        if not durable:
            self.passing.add(name)

    async def settle(self, names: Sequence[BlobName] | None) -> None:
        self.passing -= self.passing if names is None else set(names)

    async def get(self, name: BlobName) -> bytes:
        if name not in self.blobs:
            raise errors.Missing("no such blob")
        return self.blobs[name]

    async def delete(self, names: Sequence[BlobName]) -> None:
        for name in names:
            self.blobs.pop(name, None)

    async def list(self) -> AsyncIterator[Sequence[StoredBlob]]:
        yield [StoredBlob(name, len(data), 0.0) for name, data in self.blobs.items()]

    async def owner(self) -> bytes | None:
        return self.mark

    async def claim(self, owner: bytes) -> None:
        self.mark = owner

    async def close(self) -> None:
        """Nothing is held."""
