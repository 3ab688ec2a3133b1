"""A metadata store as plain dictionaries, for one user: each commit is made on a copy, which is then looked over."""

from __future__ import annotations

from dataclasses import dataclass, field

from broker.drive.metadata.protocol import Change, PutEntry, PutNode
from broker.drive.records import Entry, Kind, Node, NodeId, Token


class Refused(Exception):
    """A commit that must not happen."""


def must(condition: object) -> None:
    if not condition:
        raise Refused


@dataclass
class Model:
    """`changes` counts for each folder; `links` follow from the entries."""

    root: NodeId
    nodes: dict[NodeId, Node]
    contents: dict[NodeId, bytes] = field(default_factory=dict)
    entries: dict[tuple[NodeId, Token], Entry] = field(default_factory=dict)
    changes: dict[NodeId, int] = field(default_factory=dict)

    def committed(self, changes: tuple[Change, ...]) -> Model:
        """What it is afterwards, or Refused."""
        new = Model(self.root, dict(self.nodes), dict(self.contents), dict(self.entries), dict(self.changes))
        puts = [change for change in changes if isinstance(change, PutNode)]
        entries = [change.entry for change in changes if isinstance(change, PutEntry)]
        must(len({put.node.id for put in puts}) == len(puts))
        must(len({(entry.parent, entry.token) for entry in entries}) == len(entries))
        for put in puts:
            new._put(put)
        for entry in entries:
            new._name(entry)
        new._settle(self)
        new._check_keys(self, {(entry.parent, entry.token) for entry in entries})
        return new

    def living(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.child]

    def links(self, id: NodeId) -> int:
        return sum(entry.child == id for entry in self.living())

    def _put(self, put: PutNode) -> None:
        old, new = self.nodes.get(put.node.id), put.node
        must(new.version == (old.version if old else 0) + 1)
        if old:
            must(new.kind is old.kind and new.epoch in (old.epoch, old.epoch + 1))
            must(new.epoch > old.epoch or new.verify_key == old.verify_key)
        if put.content is not None:
            self.contents[new.id] = put.content
        must(new.inline == bool(self.contents.get(new.id)))
        self.nodes[new.id] = new

    def _name(self, entry: Entry) -> None:
        parent, old = self.nodes.get(entry.parent), self.entries.get((entry.parent, entry.token))
        must(parent and parent.kind is Kind.FOLDER)
        assert parent is not None
        must(entry.version == (old.version if old else 0) + 1)
        must(entry.epoch == parent.epoch or (not entry.child and old and entry.epoch == old.epoch))
        must(not entry.child or (entry.child in self.nodes and entry.child != self.root))
        self.entries[entry.parent, entry.token] = entry
        self.changes[entry.parent] = self.changes.get(entry.parent, 0) + 1

    def _settle(self, before: Model) -> None:
        """Nodes without a name go; then all the others must be found from the root, folders once."""
        for id, node in list(self.nodes.items()):
            if id != self.root and not self.links(id):
                must(id in before.nodes)
                must(not any(entry.parent == id for entry in self.living()))
                del self.nodes[id]
                self.contents.pop(id, None)
                self.entries = {key: entry for key, entry in self.entries.items() if entry.parent != id}
            must(node.kind is not Kind.FOLDER or self.links(id) <= 1)
        found, waiting = {self.root}, [self.root]
        while waiting:
            at = waiting.pop()
            below = {entry.child for entry in self.living() if entry.parent == at and entry.child} - found
            found |= below
            waiting += below
        must(found == set(self.nodes))

    def _check_keys(self, before: Model, named: set[tuple[NodeId, Token]]) -> None:
        """A node that has new keys has all its names, and all names in it, made anew."""
        for id, node in self.nodes.items():
            if id in before.nodes and node.epoch > before.nodes[id].epoch:
                must(all(entry.epoch == node.epoch for entry in self.living() if entry.parent == id))
                must(all((entry.parent, entry.token) in named for entry in self.living() if entry.child == id))
