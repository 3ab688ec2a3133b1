"""Checks of a whole store: what its tables say of each other, and whether the blobs are there that nodes refer to."""

from __future__ import annotations

import os
from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import Connection, Integer, Select, bindparam, delete, func, insert, literal, select, update

from broker.drive.blobs.protocol import BlobStore, StoredBlob
from broker.drive.metadata import belonging, clock
from broker.drive.metadata.access import DEPTH
from broker.drive.metadata.collection import adopt
from broker.drive.metadata.database import Database
from broker.drive.metadata.schema import State, chunks, contents, entries, homes, inventory, nodes
from broker.drive.records import BlobName, Kind, NodeId


class Finding(Struct, frozen=True):
    """Something wrong. `node` is what it concerns, where there is one: its name is known only to who has the keys."""

    what: str
    node: NodeId | None = None
    blob: BlobName | None = None
    repairable: bool = False


async def check(database: Database, blobs: BlobStore, *, lost: bool = False) -> Sequence[Finding]:
    """All that is wrong now. What changes meanwhile is not taken for an error.

    Unusable where the blobs are another database's, or where there are none, unless they may be `lost`.
    """
    await belonging.require(database, blobs, lost=lost)
    scan = os.urandom(16)
    begun = await database.read(clock.now)
    try:
        async for page in blobs.list():
            await database.write(_take_stock, scan, page)
        return [*await database.read(_inconsistent), *await database.read(_compare, scan, begun)]
    finally:
        await database.write(_forget, scan)


async def repair(database: Database, blobs: BlobStore) -> Sequence[Finding]:
    """Put right what follows from the rest: counts, and records of blobs. What is still wrong after that.

    Nothing that a client has sealed is changed, and no blob is deleted: what nothing refers to goes with the next
    collection.
    """
    await belonging.require(database, blobs, lost=True)
    await database.write_durably(_repair)
    async for page in blobs.list():
        await database.write(adopt, page)
    return await check(database, blobs)


_living = entries.c.child.is_not(None)
_links = select(func.count()).where(entries.c.child == nodes.c.id).correlate(nodes).scalar_subquery()
_content = func.coalesce(
    select(func.length(contents.c.sealed)).where(contents.c.node == nodes.c.id).correlate(nodes).scalar_subquery(), 0
)
_charged = func.length(nodes.c.body) + _content
_bytes = func.coalesce(
    select(func.sum(nodes.c.charged)).where(nodes.c.home == homes.c.id).correlate(homes).scalar_subquery(), 0
) + func.coalesce(
    select(func.sum(chunks.c.size))
    .where(chunks.c.home == homes.c.id, chunks.c.state.in_([State.RESERVED.value, State.LIVE.value]))
    .correlate(homes)
    .scalar_subquery(),
    0,
)
_number = select(func.count()).where(nodes.c.home == homes.c.id).correlate(homes).scalar_subquery()
_child, _parent = nodes.alias("child"), nodes.alias("parent")
_edges = (
    select(entries.c.child)
    .join(_child, _child.c.id == entries.c.child)
    .join(_parent, _parent.c.id == entries.c.parent)
)
_lost_chunk = (chunks.c.state == State.LIVE.value) & ~select(nodes.c.id).where(nodes.c.id == chunks.c.node).exists()


def _unreachable() -> Select[bytes]:
    """Nodes that one does not come to from the root of their tree."""
    reached = select(homes.c.id.label("node"), literal(0, Integer).label("depth")).cte("reached", recursive=True)
    reached = reached.union(
        select(entries.c.child, reached.c.depth + 1)
        .join(reached, entries.c.parent == reached.c.node)
        .where(_living, reached.c.depth < DEPTH)
    )
    return select(nodes.c.id).where(nodes.c.id.not_in(select(reached.c.node)))


_TREE: Sequence[tuple[str, Select[bytes], bool]] = (
    ("the count of its names is wrong", select(nodes.c.id).where(nodes.c.links != _links), True),
    ("the count of its bytes is wrong", select(nodes.c.id).where(nodes.c.charged != _charged), True),
    (
        "the counts of bytes or nodes in its tree are wrong",
        select(homes.c.id).where((homes.c.bytes != _bytes) | (homes.c.nodes != _number)),
        True,
    ),
    ("no name leads to it", _unreachable(), False),
    ("it has a name in another user's tree", _edges.where(_child.c.home != _parent.c.home), False),
    ("it has a name in something that is no folder", _edges.where(_parent.c.kind != Kind.FOLDER.value), False),
    (
        "a folder has several names",
        select(nodes.c.id).where(nodes.c.kind == Kind.FOLDER.value, _links > 1),
        False,
    ),
    ("its inline content is missing", select(nodes.c.id).where(nodes.c.inline, _content == 0), False),
)


def _inconsistent(connection: Connection) -> Sequence[Finding]:
    found = [
        Finding(what, NodeId(node), repairable=repairable)
        for what, query, repairable in _TREE
        for node in connection.scalars(query)
    ]
    lost = connection.execute(select(chunks.c.blob, chunks.c.node).where(_lost_chunk))
    return found + [Finding("a chunk belongs to a node that has gone", node, blob, True) for blob, node in lost]


_pairs = select(chunks.c.blob, chunks.c.node, chunks.c.size, inventory.c.size).select_from(
    chunks.outerjoin(inventory, (inventory.c.blob == chunks.c.blob) & (inventory.c.scan == bindparam("scan")))
)
_wanted = _pairs.where(
    chunks.c.state == State.LIVE.value,
    chunks.c.since_ns < bindparam("begun"),
    inventory.c.size.is_(None) | (inventory.c.size != chunks.c.size),
)
_unknown = (
    select(inventory.c.blob)
    .select_from(inventory.outerjoin(chunks, inventory.c.blob == chunks.c.blob))
    .where(inventory.c.scan == bindparam("scan"), chunks.c.blob.is_(None))
)


def _compare(connection: Connection, scan: bytes, begun: int) -> Sequence[Finding]:
    """Blobs as they were listed with those that nodes have referred to since before."""
    wrong = [
        Finding("a blob is missing" if size is None else f"a blob has {size} bytes instead of {expected}", node, blob)
        for blob, node, expected, size in connection.execute(_wanted, {"scan": scan, "begun": begun})
    ]
    unknown = connection.execute(_unknown, {"scan": scan})
    return wrong + [Finding("a blob is on no record", None, blob, True) for (blob,) in unknown]


def _repair(connection: Connection) -> None:
    connection.execute(select(homes.c.id).order_by(homes.c.id).with_for_update()).fetchall()
    now = clock.now(connection)
    connection.execute(update(nodes).where(nodes.c.links != _links).values(links=_links))
    connection.execute(update(nodes).where(nodes.c.charged != _charged).values(charged=_charged))
    connection.execute(update(chunks).where(_lost_chunk).values(state=State.DEAD.value, since_ns=now))
    connection.execute(update(homes).values(bytes=_bytes, nodes=_number))


def _take_stock(connection: Connection, scan: bytes, page: Sequence[StoredBlob]) -> None:
    if page:
        connection.execute(insert(inventory), [{"scan": scan, "blob": b.name, "size": b.size} for b in page])


def _forget(connection: Connection, scan: bytes) -> None:
    connection.execute(delete(inventory).where(inventory.c.scan == scan))
