"""New keys for a node and all below it, from the top down; a walk that was interrupted goes on where it stopped."""

from __future__ import annotations

import functools
import os
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence, Set

from msgspec import Struct, field
from msgspec.structs import replace

from broker.drive.errors import Denied, DriveError, EntryChanged, EpochChanged, NodeChanged, Tampered
from broker.drive.format.bodies import Body
from broker.drive.format.entries import open_entry, seal_entry, tombstone
from broker.drive.format.grants import grant_is_signed, seal_grant
from broker.drive.format.identity import Identity, decode_record
from broker.drive.format.keys import NodeKeys, name_token, new_node_keys
from broker.drive.format.manifest import Content
from broker.drive.format.nodes import open_node, seal_node
from broker.drive.metadata.protocol import Change, DropGrant, PutEntry, PutGrant, PutNode
from broker.drive.records import Entry, NodeId, UserId
from broker.remotes.drive.committing import retried
from broker.remotes.drive.core import Core
from broker.remotes.drive.guard import of_node, of_pairs
from broker.remotes.drive.places import Held
from broker.remotes.drive.scanning import scan
from broker.remotes.drive.walk import guarded_lookup
from broker.telling import shown

_MARK = b"drive.rekeyed"
"""An attribute of the body of a node that a walk has been at: the mark of that walk."""
_COMMIT_MAX = 126 << 20
"""Bytes of names that one commit can have: what a server takes (COMMIT_MAX), less the node and its grants."""
_AROUND = 430
"""Bytes of one name and of its tombstone besides what is sealed."""


Child = tuple[bytes, Entry, NodeKeys]
"""A name in a folder, opened."""


class _Known(Struct, frozen=True):
    """A look at the tree: its nodes and what is in each, the names of each, as folder and name, the keys of folders,
    and what is wrong with nodes that cannot be opened."""

    nodes: dict[NodeId, Held] = field(default_factory=dict)
    below: dict[NodeId, list[NodeId]] = field(default_factory=lambda: defaultdict(list))
    names: dict[NodeId, list[tuple[NodeId, bytes]]] = field(default_factory=lambda: defaultdict(list))
    keys: dict[NodeId, NodeKeys] = field(default_factory=dict)
    errors: dict[NodeId, DriveError] = field(default_factory=dict)


class Rekeying:
    """One walk. `mark` tells the nodes that it has done already; `home` is the owner's root."""

    def __init__(
        self, core: Core, identity: Identity, home: Held, mark: bytes, revoked: Mapping[NodeId, Set[UserId]]
    ) -> None:
        """`revoked` are those who have a share no more: a store could still list it, and it is signed."""
        self._core = core
        self._revoked = revoked
        self._identity = identity
        self._home = home
        self._mark = mark

    async def run(self, top: NodeId) -> int:
        """Re-key `top` and all below; how many nodes got new keys. Others may change names meanwhile, and move what
        the walk has not been at to where it has been already: it ends with a look that finds nothing left to do."""
        done: set[NodeId] = set()
        while await retried(lambda: self._walk(top, done), NodeChanged):
            pass
        return len(done)

    async def _walk(self, top: NodeId, done: set[NodeId]) -> bool:
        """Whether there was anything left. A folder comes before what is in it: whatever is made there from then on
        is under keys that are new."""
        known = await self._look()
        if top not in known.nodes:
            await self._require_gone(known, top)
            return False
        left = False
        waiting = deque([top])
        seen = {top}
        while waiting:
            id = waiting.popleft()
            for child in known.below[id]:
                if child not in known.nodes:
                    raise known.errors[child]
            if id in known.nodes and self._is_done(_body(known.nodes[id])):
                children: Iterable[NodeId] = known.below[id]
            else:
                left = True
                children = await self._renew(known, id, done)
            for child in children:
                if child not in seen:
                    seen.add(child)
                    waiting.append(child)
        return left

    async def _look(self) -> _Known:
        """The owner's whole tree: a file may have other names outside what is re-keyed."""
        known = _Known()
        known.keys[self._home.id] = self._home.keys
        async for found in scan(self._core, self._home, verify=True):
            id = found.stored.node.id
            known.below[found.folder.id].append(id)
            if found.error is not None:
                known.errors[id] = type(found.error)(f"{shown(found.path)}: {found.error}")
            if found.node is None:
                continue
            known.nodes[id] = found.node
            known.names[id].append((found.folder.id, found.path.rpartition(b"/")[2]))
            if found.node.is_folder:
                known.keys[id] = found.node.keys
        return known

    async def _require_gone(self, known: _Known, top: NodeId) -> None:
        """What nothing leads to has been removed, unless the store still has it: then it may be behind what cannot be
        opened, or the store has left something out."""
        if top in await self._core.store.nodes([top]):
            left_out = Tampered("the server leaves out what was shared, so that its keys have not been changed yet")
            raise known.errors.get(top) or next(iter(known.errors.values()), left_out)

    def _is_done(self, body: Body) -> bool:
        return body.xattrs.get(_MARK) == self._mark

    async def _renew(self, known: _Known, id: NodeId, done: set[NodeId]) -> Sequence[NodeId]:
        """Give one node new keys, unless somebody just has, or it is not where it was any more; what is in it."""
        held = next((entry[1] for entry in await self._entries(known, id) if entry), None)
        if held is None:
            return ()
        body = _body(held)
        children = await self._children(held) if held.is_folder else []
        if not self._is_done(body):
            held = await self._rekey(known, held, body, children)
            done.add(id)
        known.keys[id] = held.keys
        below = []
        for name, entry, _ in children:
            assert entry.child
            below.append(entry.child)
            if (id, name) not in known.names[entry.child]:
                known.names[entry.child].append((id, name))
        return below

    async def _entries(self, known: _Known, id: NodeId) -> Sequence[tuple[Entry, Held] | None]:
        """The names of a node as they are now; None for one that leads elsewhere."""
        names = [(parent, name_token(known.keys[parent], name)) for parent, name in known.names[id]]
        found = await guarded_lookup(self._core.store, self._core.guard, names)
        entries: list[tuple[Entry, Held] | None] = []
        for (parent, _), answer in zip(names, found, strict=True):
            if answer is None or answer[1] is None or answer[0].child != id:
                entries.append(None)
            else:
                keys = open_entry(answer[0], known.keys[parent], verify=True).keys
                entries.append((answer[0], Held(answer[1], keys)))
        return entries

    async def _children(self, folder: Held) -> list[Child]:
        found = []
        after = None
        while True:
            listed = await self._core.guard.ask(
                functools.partial(self._core.store.list, folder.id, after),
                lambda page: [of_node(page.folder.node), *of_pairs(page.entries)],
            )
            if listed.folder.node.epoch != folder.stored.node.epoch:
                raise EpochChanged("another walk has been at it")
            for entry, _ in listed.entries:
                opened = open_entry(entry, folder.keys, verify=True)
                found.append((opened.name, entry, opened.keys))
            after = listed.after
            if after is None:
                return found

    async def _rekey(self, known: _Known, held: Held, body: Body, children: Sequence[Child]) -> Held:
        """One commit: the node, all its names, and all names in it. Denied when it would be too long."""
        if commit_size(children) > _COMMIT_MAX:
            raise Denied(
                f"{shown(known.names[held.id][0][1])} has {len(children)} names, too many to change its keys: move "
                "some of them to a folder in it, and finish with seccomp-drive unshare PATH"
            )
        node = held.stored.node
        new = Held(held.stored, new_node_keys())
        epoch = node.epoch + 1
        sealed = seal_node(
            node.id, node.kind, node.version + 1, epoch, new.keys, self._refreshed(body), inline=node.inline
        )
        changes: list[Change] = [PutNode(sealed)]
        names = await self._entries(known, held.id)
        if held.stored.links != len([entry for entry in names if entry]):
            raise known.errors.get(held.id) or EntryChanged("it has got or lost a name")
        for (parent, name), found in zip(known.names[held.id], names, strict=True):
            if found:
                entry = found[0]
                changes.append(
                    PutEntry(
                        seal_entry(
                            parent, known.keys[parent], entry.version + 1, entry.epoch, name, held.id, new.keys
                        )
                    )
                )
        for name, entry, keys in children:
            assert entry.child
            changes.append(PutEntry(seal_entry(held.id, new.keys, 1, epoch, name, entry.child, keys)))
            gone = tombstone(held.id, new.keys, entry.version + 1, epoch, entry.token)
            changes.append(PutEntry(gone))
        changes += await self._grants(held, new.keys, epoch, known.names[held.id][0][1])
        committed = await self._core.commits.commit(*changes, durable=True)
        return Held(committed.nodes[node.id], new.keys)

    def _refreshed(self, body: Body) -> Body:
        """With the mark, and a new key for content that is written from now on."""
        content = body.content
        if content.keys:
            keys = {**content.keys, content.epoch + 1: os.urandom(32)}
            content = Content(keys, content.refs, content.spilled)
        return replace(body, content=content, xattrs={**body.xattrs, _MARK: self._mark})

    async def _grants(self, held: Held, keys: NodeKeys, epoch: int, name: bytes) -> list[Change]:
        """The shares that stay, under the new keys, and the end of the others. Tampered when the store lists one that
        its owner has not made."""
        changes: list[Change] = []
        revoked = self._revoked.get(held.id, frozenset())
        for grant in await self._core.store.grants(held.id):
            if grant.grantee in revoked or grant.epoch != held.stored.node.epoch:
                changes.append(
                    DropGrant(held.id, grant.grantee)
                )  # taken back; or of older keys, and so worth nothing
                continue
            record = decode_record((await self._core.store.user(grant.grantee)).record, expected=grant.grantee)
            if grant.node != held.id or not grant_is_signed(grant, self._identity.record, record):
                raise Tampered(f"the server lists a share with {record.name} that you have not made")
            changes.append(PutGrant(seal_grant(self._identity, record, held.id, keys, grant.right, epoch, name)))
        return changes


def _body(held: Held) -> Body:
    return open_node(held.stored.node, held.keys, verify=True)


def commit_size(children: Sequence[Child]) -> int:
    """Bytes of a commit that gives these names new keys, and a little more."""
    return sum(len(entry.sealed) + len(entry.sealed_seed) + _AROUND for _, entry, _ in children)
