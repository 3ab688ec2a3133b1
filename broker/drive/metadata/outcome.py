"""What a commit makes of the nodes and entries that it concerns, or why it cannot be: decided without a database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from broker.drive.errors import (
    Cycle,
    EntryChanged,
    EpochChanged,
    Malformed,
    Missing,
    NodeChanged,
    OtherHome,
    WrongKind,
)
from broker.drive.metadata.protocol import Commit, PutEntry, PutNode
from broker.drive.records import Entry, Kind, Node, NodeId, StoredNode, Token


class Held(Struct, frozen=True):
    """A node as the database has it. `charged` are its bytes that count for the quota, without its chunks."""

    stored: StoredNode
    charged: int


class Named(Struct, frozen=True):
    """As much of an entry as the database has it."""

    version: int
    epoch: int
    child: NodeId | None


class Before(Struct, frozen=True):
    """What the commit concerns, as it is before: the nodes it names, the names it changes and where these lead to."""

    nodes: Mapping[NodeId, Held]
    entries: Mapping[tuple[NodeId, Token], Named]


class Draft(Struct):
    """A node while the changes are made to it."""

    node: Node
    home: NodeId
    links: int
    changes: int
    changed_ns: int
    charged: int
    before: Held | None
    put: bool = False
    """The node itself has a new version."""
    named: bool = False
    """A name has been given or taken."""

    @property
    def gone(self) -> bool:
        """Whether no name leads to it any more."""
        return self.links == 0 and self.node.id != self.home

    def stored(self) -> StoredNode:
        return StoredNode(self.node, self.home, self.links, self.changes, self.changed_ns)


class Outcome(Struct, frozen=True):
    drafts: Mapping[NodeId, Draft]
    entries: Mapping[tuple[NodeId, Token], Entry] = field(default_factory=dict)
    """As they shall be."""

    def touched(self) -> Iterator[Draft]:
        """Nodes that stay and of which something is different."""
        return (draft for draft in self.drafts.values() if not draft.gone and (draft.put or draft.named))

    def gone(self) -> Iterator[Draft]:
        return (draft for draft in self.drafts.values() if draft.gone)

    def rekeyed(self) -> Iterator[Draft]:
        """Nodes that have other keys than before."""
        for draft in self.drafts.values():
            if draft.before is not None and not draft.gone and draft.node.epoch != draft.before.stored.node.epoch:
                yield draft

    def placed_folders(self) -> Iterator[NodeId]:
        """Folders that could be below themselves now: moved ones, and new ones in new ones."""
        for entry in self.entries.values():
            if entry.child is None or self.drafts[entry.child].node.kind is not Kind.FOLDER:
                continue
            if self.drafts[entry.child].before is not None or self.drafts[entry.parent].before is None:
                yield entry.child


def decide(commit: Commit, before: Before, now_ns: int) -> Outcome:
    """The nodes and entries after `commit`.

    Missing, NodeChanged, EntryChanged, EpochChanged, WrongKind, Cycle, OtherHome or Malformed. That folders are empty
    when they go, and that moved ones are not below themselves, is left to the database.
    """
    puts = [change for change in commit.changes if isinstance(change, PutNode)]
    entries = [change.entry for change in commit.changes if isinstance(change, PutEntry)]
    if len({put.node.id for put in puts}) < len(puts):
        raise Malformed("a node is changed twice")
    if len({(entry.parent, entry.token) for entry in entries}) < len(entries):
        raise Malformed("a name is changed twice")
    drafts = _with_nodes(puts, entries, before, now_ns)
    for entry in entries:
        _place(entry, drafts, before.entries.get((entry.parent, entry.token)), now_ns)
    for draft in drafts.values():
        _check(draft)
    return Outcome(drafts, {(entry.parent, entry.token): entry for entry in entries})


def _with_nodes(puts: list[PutNode], entries: list[Entry], before: Before, now_ns: int) -> dict[NodeId, Draft]:
    drafts = {
        id: Draft(s.node, s.home, s.links, s.changes, s.changed_ns, held.charged, held)
        for id, held in before.nodes.items()
        for s in (held.stored,)
    }
    for put in puts:
        if put.node.id in drafts:
            _renew(drafts[put.node.id], put)
        elif put.node.version != 1:
            raise Missing("no such node")
    new = {put.node.id: put for put in puts if put.node.id not in drafts}
    while new:
        # The folder of a new node can be new itself; its own place is in the same commit then.
        homes = {
            entry.child: drafts[entry.parent].home
            for entry in entries
            if entry.child in new and entry.parent in drafts
        }
        if not homes:
            if any(entry.child in new and entry.parent not in new for entry in entries):
                raise Missing("no such folder")
            raise Malformed("a new node without a name")
        for id, home in homes.items():
            assert id is not None
            drafts[id] = _created(new.pop(id), home, now_ns)
    return drafts


def _created(put: PutNode, home: NodeId, now_ns: int) -> Draft:
    if put.node.inline != bool(put.content):
        raise Malformed("a node says that there is inline content, and there is none; or the other way round")
    charged = len(put.node.body) + len(put.content or b"")
    return Draft(put.node, home, 0, 0, now_ns, charged, None, put=True)


def _renew(draft: Draft, put: PutNode) -> None:
    old, new = draft.node, put.node
    if new.version != old.version + 1:
        raise NodeChanged(f"the node is at version {old.version}")
    if new.kind is not old.kind:
        raise Malformed("a file cannot become a folder, nor a folder a file")
    if new.epoch not in (old.epoch, old.epoch + 1):
        raise EpochChanged("the node has other keys by now")
    if new.epoch == old.epoch and (new.verify_key, new.commitment) != (old.verify_key, old.commitment):
        raise Malformed("other keys without another epoch")
    if new.inline != (old.inline if put.content is None else bool(put.content)):
        raise Malformed("a node says that there is inline content, and there is none; or the other way round")
    content = draft.charged - len(old.body) if put.content is None else len(put.content)
    draft.node, draft.charged, draft.put = new, len(new.body) + content, True


def _place(entry: Entry, drafts: dict[NodeId, Draft], named: Named | None, now_ns: int) -> None:
    """Change one name, and count for the folder, for what it led to and for what it leads to now."""
    parent = drafts.get(entry.parent)
    if parent is None:
        raise Missing("no such folder")
    if parent.node.kind is not Kind.FOLDER:
        raise WrongKind("no folder")
    if entry.version != (named.version if named else 0) + 1:
        raise EntryChanged(f"the name is at version {named.version if named else 0}")
    removal = entry.child is None and named is not None and entry.epoch == named.epoch
    if entry.epoch != parent.node.epoch and not removal:
        raise EpochChanged(f"the folder's keys are at epoch {parent.node.epoch}")
    parent.changes += 1
    parent.changed_ns = max(now_ns, parent.changed_ns)
    parent.named = True
    if named and named.child:
        drafts[named.child].links -= 1
        drafts[named.child].named = True
    if entry.child:
        child = drafts.get(entry.child)
        if child is None:
            raise Missing("no such node")
        if child.home != parent.home:
            raise OtherHome("it belongs to another user's tree")
        if child.node.id == child.home:
            raise Cycle("the root of a tree has no name in it")
        child.links += 1
        child.named = True


def _check(draft: Draft) -> None:
    if draft.node.kind is Kind.FOLDER and draft.links > 1:
        raise Cycle("a folder has one name")
    if draft.before is None and draft.links == 0:
        raise Malformed("a new node without a name")
