"""What a commit concerns, read under the locks of the homes it is in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from sqlalchemy import Connection, bindparam, select

from broker.drive.metadata import rows
from broker.drive.metadata.clock import now_ns
from broker.drive.metadata.outcome import Before, Held, Named
from broker.drive.metadata.protocol import Change, Commit, DropGrant, PutEntry, PutGrant, PutNode
from broker.drive.metadata.schema import entries, homes, nodes, operations
from broker.drive.metadata.statements import Batched, Prepared
from broker.drive.records import NodeId, OperationId, StoredNode, Token, UserId


class Home(Struct, frozen=True):
    """Whose tree, and its share of the store; a limit of 0 is none."""

    id: NodeId
    owner: UserId
    bytes: int
    bytes_limit: int
    nodes: int
    nodes_limit: int


_HOME = (homes.c.id, homes.c.owner, homes.c.bytes, homes.c.bytes_limit, homes.c.nodes, homes.c.nodes_limit)

_homes = Batched(
    lambda keys: (
        select(*_HOME).where(homes.c.id.in_(select(nodes.c.home).where(keys))).order_by(homes.c.id).with_for_update()
    ),
    nodes.c.id,
)
_own = Prepared(select(*_HOME).where(homes.c.id == bindparam("home")).with_for_update())
_nodes = Batched(lambda keys: select(*rows.NODE, nodes.c.charged).where(keys), nodes.c.id)
_names = Batched(
    lambda keys: select(entries.c.parent, entries.c.token, entries.c.version, entries.c.epoch, entries.c.child).where(
        keys
    ),
    entries.c.parent,
    entries.c.token,
)
_answer = (
    select(operations.c.answer)
    .where(operations.c.user == bindparam("user"), operations.c.id == bindparam("operation"))
    .scalar_subquery()
)
_time_and_answer = Prepared(select(now_ns(), _answer))


def lock_homes(connection: Connection, ids: Iterable[NodeId]) -> Mapping[NodeId, Home]:
    """Those that the nodes belong to. A node never changes its home, so it can be asked for before the lock is held.

    SQLite's transaction has the lock of everything already.
    """
    return {home.id: home for home in (Home(*row) for row in _homes.rows(connection, ((id,) for id in ids)))}


def lock_home(connection: Connection, home: NodeId) -> Home | None:
    row = _own.row(connection, home=home)
    return Home(*row) if row else None


def time_and_answer(connection: Connection, user: UserId, operation: OperationId) -> tuple[int, bytes | None]:
    """The database's clock, and what the operation has been answered if it has been done before."""
    ((now, answer),) = _time_and_answer.rows(connection, user=user, operation=operation)
    return now, answer


def read(connection: Connection, commit: Commit) -> Before:
    """Nodes, names and where these lead to; what is not there is not in the answer."""
    names = [(change.entry.parent, change.entry.token) for change in commit.changes if isinstance(change, PutEntry)]
    found = {
        (NodeId(parent), Token(token)): Named(version, epoch, child)
        for parent, token, version, epoch, child in _names.rows(connection, names)
    }
    ids = {*concerned(commit.changes), *(named.child for named in found.values() if named.child)}
    return Before({held.stored.node.id: held for held in _held(connection, ids)}, found)


def nodes_now(connection: Connection, ids: Iterable[NodeId]) -> Mapping[NodeId, StoredNode]:
    """Those of the nodes that there are."""
    return {held.stored.node.id: held.stored for held in _held(connection, ids)}


def concerned(changes: Iterable[Change]) -> Iterator[NodeId]:
    """The nodes that changes name, whether they are there or not."""
    for change in changes:
        match change:
            case PutNode(node):
                yield node.id
            case PutEntry(entry):
                yield entry.parent
                if entry.child:
                    yield entry.child
            case PutGrant(grant):
                yield grant.node
            case DropGrant(node=id):
                yield id


def _held(connection: Connection, ids: Iterable[NodeId]) -> Iterator[Held]:
    for row in _nodes.rows(connection, ((id,) for id in ids)):
        yield Held(rows.node(row[:13]), row[13])
