"""A commit as one transaction: lock, look, decide, write.

The row of a home is the lock of its whole tree: every commit takes it, in order of the ids when there are several,
so that nobody changes what a commit has looked at. It also has the counts of the quota, which nearly every commit
would write anyway.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from broker.drive.errors import Cycle, EntryChanged, FolderNotEmpty, Malformed, QuotaExceeded
from broker.drive.metadata import access, announced, before, granting, references, rows
from broker.drive.metadata.before import Home
from broker.drive.metadata.outcome import Before, Draft, Outcome, decide
from broker.drive.metadata.protocol import Commit, Committed, PutEntry, PutNode
from broker.drive.metadata.schema import contents, entries, grants, homes, nodes, operations
from broker.drive.metadata.statements import Batched, Prepared
from broker.drive.records import Kind, Node, NodeId, Right, StoredNode, Token, UserId

_insert_nodes = Prepared(insert(nodes))
_insert_entries = Prepared(insert(entries))
_insert_contents = Prepared(insert(contents))
_put_contents = Prepared(
    update(contents).where(contents.c.node == bindparam("at")).values(sealed=bindparam("sealed"))
)
_delete_contents = Prepared(delete(contents).where(contents.c.node == bindparam("at")))
_delete_entries = Prepared(delete(entries).where(entries.c.parent == bindparam("at")))
_delete_grants = Prepared(delete(grants).where(grants.c.node == bindparam("at")))
_delete_node = Prepared(delete(nodes).where(nodes.c.id == bindparam("at")))
_insert_operation = Prepared(insert(operations))
_put_node = Prepared(
    update(nodes)
    .where(nodes.c.id == bindparam("at"))
    .values({column: bindparam(column.name) for column in nodes.c if column.name not in ("id", "home", "kind")})
)
_touch_node = Prepared(
    update(nodes)
    .where(nodes.c.id == bindparam("at"))
    .values(links=bindparam("links"), changes=bindparam("changes"), changed_ns=bindparam("changed_ns"))
)
_put_entry = Prepared(
    update(entries)
    .where(entries.c.parent == bindparam("in"), entries.c.token == bindparam("at"))
    .values({column: bindparam(column.name) for column in entries.c if column.name not in ("parent", "token")})
)
_charge = Prepared(
    update(homes)
    .where(homes.c.id == bindparam("at"))
    .values(bytes=homes.c.bytes + bindparam("bytes"), nodes=homes.c.nodes + bindparam("nodes"))
)
_occupied = Batched(
    lambda keys: select(entries.c.parent).where(keys, entries.c.child.is_not(None)).limit(1), entries.c.parent
)

_living = entries.c.child.is_not(None)
_under_others = Prepared(
    select(entries.c.token)
    .where(entries.c.parent == bindparam("node"), _living, entries.c.epoch != bindparam("epoch"))
    .limit(1)
)
_names_of = Prepared(select(entries.c.parent, entries.c.token).where(_living, entries.c.child == bindparam("node")))


def commit(connection: Connection, user: UserId, commit: Commit) -> Committed:
    """Make the changes for `user`, or raise a DriveError: then the transaction is to be undone."""
    locked = before.lock_homes(connection, before.concerned(commit.changes))
    now_ns, answer = before.time_and_answer(connection, user, commit.operation)
    if answer is not None:
        return _answered_before(connection, user, commit, answer)
    found = before.read(connection, commit)
    _check_access(connection, user, commit, found, locked)
    outcome = decide(commit, found, now_ns)
    _write_nodes(connection, outcome)
    _write_entries(connection, outcome, found)
    _check_folders(connection, outcome)
    grown = _write_contents(connection, user, commit, outcome, now_ns)
    _remove(connection, outcome)
    granting.write(connection, user, commit, outcome, locked)
    _write_homes(connection, outcome, locked, grown)
    touched = {draft.node.id: draft.stored() for draft in outcome.touched()}
    row = {"user": user, "id": commit.operation, "since_ns": now_ns, "answer": _encode(touched)}
    _insert_operation.run(connection, row)
    return Committed(touched)


def _check_access(
    connection: Connection, user: UserId, commit: Commit, found: Before, locked: Mapping[NodeId, Home]
) -> None:
    """As things are before the commit: who may not see a node cannot give it a name either.

    What is not there and what must not be seen fail at the same step, so that the answer does not tell them apart.
    """
    owners = {id: locked[held.stored.home].owner for id, held in found.nodes.items()}
    if all(owner == user for owner in owners.values()):
        return
    rights = access.rights_by_owner(connection, user, owners)
    new = {change.node.id for change in commit.changes if isinstance(change, PutNode)} - found.nodes.keys()
    for change in commit.changes:
        if isinstance(change, PutNode | PutEntry):
            for id in before.concerned([change]):
                if id not in new:
                    access.require(rights, id, Right.WRITE)


def _write_nodes(connection: Connection, outcome: Outcome) -> None:
    new, put, touched = [], [], []
    for draft in outcome.drafts.values():
        if draft.before is None:
            new.append(rows.node_values(draft.stored(), draft.charged))
        elif draft.put:
            put.append(rows.node_values(draft.stored(), draft.charged) | {"at": draft.node.id})
        elif draft.named:
            counts = {"links": draft.links, "changes": draft.changes, "changed_ns": draft.changed_ns}
            touched.append(counts | {"at": draft.node.id})
    _insert_nodes.run(connection, *new)
    _put_node.run(connection, *put)
    _touch_node.run(connection, *touched)


def _write_entries(connection: Connection, outcome: Outcome, found: Before) -> None:
    new, put = [], []
    for key, entry in outcome.entries.items():
        values = rows.entry_values(entry)
        if key in found.entries:
            put.append(values | {"in": entry.parent, "at": entry.token})
        else:
            new.append(values)
    _insert_entries.run(connection, *new)
    _put_entry.run(connection, *put)


def _check_folders(connection: Connection, outcome: Outcome) -> None:
    """What only the tree itself can tell, now that it is as the commit wants it."""
    gone = [(draft.node.id,) for draft in outcome.gone() if draft.node.kind is Kind.FOLDER]
    if gone and any(_occupied.rows(connection, gone)):
        raise FolderNotEmpty("the folder has entries")
    for id in outcome.placed_folders():
        if not access.reaches_home(connection, id):
            raise Cycle("a folder would be below itself")
    for draft in outcome.rekeyed():
        _check_names(connection, outcome, draft.node)


def _check_names(connection: Connection, outcome: Outcome, node: Node) -> None:
    """Of a node with new keys: whatever is left under the old ones could never be opened again."""
    if _under_others.row(connection, node=node.id, epoch=node.epoch):
        raise EntryChanged("a name in the folder is not under its new keys")
    for parent, token in _names_of.rows(connection, node=node.id):
        if (NodeId(parent), Token(token)) not in outcome.entries:
            raise EntryChanged("a name of the node does not have its new keys")


def _write_contents(
    connection: Connection, user: UserId, commit: Commit, outcome: Outcome, now_ns: int
) -> Mapping[NodeId, int]:
    """Inline contents and chunks; the bytes by which the chunks of each home have grown."""
    grown: dict[NodeId, int] = {}
    for change in commit.changes:
        if not isinstance(change, PutNode):
            continue
        draft = outcome.drafts[change.node.id]
        if change.content is not None:
            _write_inline(connection, draft, change.content)
        if change.chunks is not None and (change.chunks or draft.before is not None):
            for home, bytes in references.refer(connection, user, draft, change.chunks, now_ns).items():
                grown[home] = grown.get(home, 0) + bytes
    for draft in outcome.gone():
        freed = references.release(connection, draft.node.id, now_ns)
        grown[draft.home] = grown.get(draft.home, 0) - freed
    return grown


def _write_inline(connection: Connection, draft: Draft, content: bytes) -> None:
    id, was_inline = draft.node.id, draft.before is not None and draft.before.stored.node.inline
    if content and was_inline:
        _put_contents.run(connection, {"at": id, "sealed": content})
    elif content:
        _insert_contents.run(connection, {"node": id, "sealed": content})
    elif was_inline:
        _delete_contents.run(connection, {"at": id})


def _remove(connection: Connection, outcome: Outcome) -> None:
    """Nodes without a name, with the tombstones in them and the grants on them."""
    for draft in outcome.gone():
        at = {"at": draft.node.id}
        if draft.node.inline:
            _delete_contents.run(connection, at)
        if draft.node.kind is Kind.FOLDER:
            _delete_entries.run(connection, at)
        _delete_grants.run(connection, at)
        _delete_node.run(connection, at)


def _write_homes(
    connection: Connection, outcome: Outcome, locked: Mapping[NodeId, Home], grown: Mapping[NodeId, int]
) -> None:
    """The new counts of each home, if it may grow by that much."""
    values = []
    for id in {**locked, **grown}:
        drafts = [draft for draft in outcome.drafts.values() if draft.home == id]
        bytes = sum(_charged(draft) for draft in drafts) + grown.get(id, 0)
        number = sum((not draft.gone) - (draft.before is not None) for draft in drafts)
        if home := locked.get(id):
            _check_number(home, number)
            bytes -= announced.make_room(connection, home, bytes)
        if bytes or number:
            values.append({"at": id, "bytes": bytes, "nodes": number})
    _charge.run(connection, *values)


def _check_number(home: Home, number: int) -> None:
    if number > 0 and home.nodes_limit and home.nodes + number > home.nodes_limit:
        raise QuotaExceeded(f"{home.nodes_limit} files and folders are all that this user may have")


def _charged(draft: Draft) -> int:
    return (0 if draft.gone else draft.charged) - (draft.before.charged if draft.before else 0)


_ANSWER = struct.Struct(">16s16sQQQQ")


def _encode(touched: Mapping[NodeId, StoredNode]) -> bytes:
    """What a repetition cannot say by itself. The nodes that were put are in the commit."""
    return b"".join(
        _ANSWER.pack(id, s.home, s.node.version, s.links, s.changes, s.changed_ns) for id, s in touched.items()
    )


def _answered_before(connection: Connection, user: UserId, commit: Commit, answer: bytes) -> Committed:
    """The answer of the first time: with the nodes that this commit put, though others have changed them since. Of
    those that it touched otherwise, it says only what the user may still see."""
    put = {change.node.id: change.node for change in commit.changes if isinstance(change, PutNode)}
    done = [(NodeId(id), *rest) for id, *rest in _ANSWER.iter_unpack(answer)]
    visible = access.rights(connection, user, [id for id, *_ in done if id not in put])
    others = before.nodes_now(connection, visible)
    answered = {}
    for id, home, version, links, changes, changed_ns in done:
        if id in put and put[id].version != version:
            raise Malformed("another operation had this id")
        if node := put[id] if id in put else others[id].node if id in others else None:
            answered[id] = StoredNode(node, home, links, changes, changed_ns)
    return Committed(answered)
