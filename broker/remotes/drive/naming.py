"""Names: made, removed, moved, exchanged and given to a second folder, each in one commit."""

from __future__ import annotations

from msgspec.structs import replace

from broker.drive.format.entries import Opened, seal_entry, tombstone
from broker.drive.format.keys import NodeKeys
from broker.drive.metadata.protocol import Committed, PutEntry, PutNode
from broker.drive.records import Entry, NodeId, OperationId
from broker.remotes import protocol
from broker.remotes.drive.committing import Commits
from broker.remotes.drive.places import Held, Place
from broker.remotes.drive.readers import Readers
from broker.remotes.drive.walk import Walk


class Names:
    """Changes of entries. What is asked is checked against the looked-up places, and by the store at the commit."""

    def __init__(self, commits: Commits, walk: Walk, readers: Readers | None) -> None:
        """`readers` is None where there is one user only."""
        self._commits = commits
        self._walk = walk
        self._readers = readers

    async def make(
        self,
        place: Place,
        put: PutNode,
        keys: NodeKeys,
        operation: OperationId | None = None,
        *,
        durable: bool = False,
    ) -> Place:
        """A new node with its name; `place` as it is then."""
        place.free()
        entry = self._entry(place, put.node.id, keys)
        committed = await self._commits.commit(put, PutEntry(entry), operation=operation, durable=durable)
        self._learn(place, entry, keys)
        return replace(place, entry=entry, node=Held(committed.nodes[put.node.id], keys))

    async def link(self, existing: Place, place: Place) -> Held:
        """A second name for a file, as it is then."""
        node = existing.required()
        place.free()
        if node.is_folder:
            raise protocol.Forbidden(existing.path, "a folder has one name")
        keys = existing.writable().keys
        await self._require_same_readers(existing, place)
        entry = self._entry(place, node.id, keys)
        committed = await self._commits.commit(PutEntry(entry))
        self._learn(place, entry, node.keys)
        return _counted(node, committed)

    async def remove(self, place: Place, *, folder: bool) -> None:
        node = place.required()
        if folder and not node.is_folder:
            raise protocol.NotADirectory(place.path)
        if node.is_folder and not folder:
            raise protocol.IsADirectory(place.path)
        await self._commits.commit(PutEntry(self._tombstone(place)))

    async def move(self, old: Place, new: Place, *, replace: bool) -> Held:
        """By the rules of rename(2), by which two names of one file both stay; the node as it is then."""
        node = old.required()
        if new.node is not None and not replace:
            raise protocol.AlreadyExists(new.path)
        if new.path.startswith(old.path + b"/"):
            raise protocol.Invalid(new.path, "a folder cannot be moved into itself")
        if old.path.startswith(new.path + b"/"):
            raise protocol.NotEmpty(new.path)
        if new.node is not None:
            if new.node.id == node.id:
                return node
            if new.node.is_folder and not node.is_folder:
                raise protocol.IsADirectory(new.path)
            if node.is_folder and not new.node.is_folder:
                raise protocol.NotADirectory(new.path)
        keys = old.writable().keys
        await self._require_same_readers(old, new)
        entry = self._entry(new, node.id, keys)
        committed = await self._commits.commit(PutEntry(self._tombstone(old)), PutEntry(entry))
        self._learn(new, entry, node.keys)
        return _counted(node, committed)

    async def exchange(self, one: Place, other: Place) -> None:
        first, second = one.writable(), other.writable()
        if one.path.startswith(other.path + b"/") or other.path.startswith(one.path + b"/"):
            raise protocol.Invalid(other.path, "one of them is in the other")
        if first.id == second.id:
            return
        await self._require_same_readers(one, other)
        there, here = self._entry(other, first.id, first.keys), self._entry(one, second.id, second.keys)
        await self._commits.commit(PutEntry(there), PutEntry(here))
        self._learn(other, there, first.keys)
        self._learn(one, here, second.keys)

    async def _require_same_readers(self, one: Place, other: Place) -> None:
        """CrossDevice where others could read something in one of the folders and not in the other: whoever knew its
        keys would keep them, so it has to be copied under fresh ones."""
        if self._readers and await self._readers.differ(one, other):
            raise protocol.CrossDevice(other.path, "other users can read it at one of the two: copy it")

    def _entry(self, place: Place, id: NodeId, keys: NodeKeys) -> Entry:
        folder = _writable(place)
        epoch = folder.stored.node.epoch
        return seal_entry(folder.id, folder.keys, place.next_version, epoch, place.name, id, keys)

    def _tombstone(self, place: Place) -> Entry:
        folder = _writable(place)
        return tombstone(folder.id, folder.keys, place.next_version, folder.stored.node.epoch, place.token)

    def _learn(self, place: Place, entry: Entry, keys: NodeKeys) -> None:
        self._walk.learn(place.parent(), entry, Opened(place.name, keys))


def _counted(node: Held, committed: Committed) -> Held:
    """A node of which only names have changed: what the store says of the rest has not been checked."""
    now = committed.nodes[node.id]
    counts = replace(node.stored, links=now.links, changes=now.changes, changed_ns=now.changed_ns)
    return Held(counts, node.keys)


def _writable(place: Place) -> Held:
    folder = place.parent()
    if folder.keys.seed is None:
        raise protocol.Forbidden(place.path, "its folder is shared with you for reading only")
    return folder
