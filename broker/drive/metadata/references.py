"""Which blobs there are and what refers to them: rows that change together with the nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from sqlalchemy import Connection, bindparam, func, insert, select, update

from broker.drive.errors import Malformed, Missing, NodeChanged
from broker.drive.metadata import access, announced, before, clock, rows
from broker.drive.metadata.outcome import Draft
from broker.drive.metadata.schema import State, chunks, grants, homes, nodes
from broker.drive.metadata.statements import Batched, Prepared
from broker.drive.records import BlobName, Chunk, NodeId, OperationId, Right, UserId

_live = Prepared(
    select(*rows.CHUNK)
    .where(chunks.c.node == bindparam("node"), chunks.c.state == State.LIVE.value)
    .order_by(chunks.c.id)
)
_live_bytes = Prepared(
    select(func.coalesce(func.sum(chunks.c.size), 0)).where(
        chunks.c.node == bindparam("node"), chunks.c.state == State.LIVE.value
    )
)
_release = Prepared(
    update(chunks)
    .where(chunks.c.node == bindparam("of"), chunks.c.state == State.LIVE.value)
    .values(state=State.DEAD.value, since_ns=bindparam("now"))
)
_drop = Prepared(
    update(chunks).where(chunks.c.blob == bindparam("name")).values(state=State.DEAD.value, since_ns=bindparam("now"))
)
_refer = Prepared(
    update(chunks)
    .where(chunks.c.blob == bindparam("name"))
    .values(state=State.LIVE.value, since_ns=bindparam("now"), node=bindparam("of"), home=bindparam("at"))
)
_RECORD = (chunks.c.blob, chunks.c.id, chunks.c.size, chunks.c.state, chunks.c.uploader, chunks.c.home, chunks.c.node)
_records = Batched(lambda keys: select(*_RECORD).where(keys), chunks.c.blob)
_locked_records = Batched(lambda keys: select(*_RECORD).where(keys).with_for_update(), chunks.c.blob)
"""The collection condemns what has been announced for long: whoever is second must see what the first has done."""
_insert = Prepared(insert(chunks))
_charge = Prepared(
    update(homes).where(homes.c.id == bindparam("at")).values(bytes=homes.c.bytes + bindparam("grown"))
)
_versions = Prepared(select(nodes.c.version).where(nodes.c.id == bindparam("node")))
_writable = Prepared(
    select(nodes.c.id)
    .join(grants, access.COUNTS)
    .where(
        nodes.c.home == bindparam("home"), grants.c.grantee == bindparam("user"), grants.c.right >= Right.WRITE.value
    )
    .limit(1)
)
_home = Prepared(select(homes.c.id).where(homes.c.owner == bindparam("user")))


class Record(Struct, frozen=True):
    """What is known of a blob."""

    blob: BlobName
    id: bytes
    size: int
    state: int
    uploader: UserId | None
    home: NodeId
    node: NodeId | None


def of(connection: Connection, user: UserId, node: NodeId, version: int) -> Sequence[Chunk]:
    """Those that the node's content refers to, if it still is at `version`: Missing, NodeChanged."""
    access.visible(connection, user, [node])
    if _versions.row(connection, node=node) != (version,):
        raise NodeChanged(f"the node is not at version {version} any more")
    return [rows.chunk(row) for row in _live.rows(connection, node=node)]


def reserve(
    connection: Connection, user: UserId, operation: OperationId, wanted: Sequence[Chunk], home: NodeId | None
) -> None:
    """Put announced blobs on record and on the account of a home that the user may write in."""
    if home is None and (own := _home.row(connection, user=user)):
        home = own[0]
    locked = before.lock_home(connection, home) if home else None
    if locked is None:
        raise Missing("no such home")
    if locked.owner != user and not _writable.row(connection, home=home, user=user):
        raise Missing("no such home")
    known = _known(connection, _records, (chunk.blob for chunk in wanted))
    for chunk in wanted:
        row = known.get(chunk.blob)
        if row and (row.uploader, row.id, row.size) != (user, chunk.id, chunk.size):
            raise Malformed("that name of a blob is taken")
    new = {chunk.blob: chunk for chunk in wanted if chunk.blob not in known}
    grown = sum(chunk.size for chunk in new.values())
    freed = announced.make_room(connection, locked, grown)
    if new:
        now = clock.now(connection)
        common = {"home": home, "uploader": user, "state": State.RESERVED.value, "since_ns": now, "node": operation}
        values = [{"blob": chunk.blob, "id": chunk.id, "size": chunk.size} | common for chunk in new.values()]
        _insert.run(connection, *values)
        _charge.run(connection, {"at": home, "grown": grown - freed})


def refer(
    connection: Connection, user: UserId, draft: Draft, wanted: Sequence[Chunk], now: int
) -> Mapping[NodeId, int]:
    """Make `wanted` all that the node refers to; the bytes by which each home has grown.

    New ones must have been announced by the same user: nobody can take hold of somebody else's blob.
    """
    node, home = draft.node.id, draft.home
    live = {kept[1]: rows.chunk(kept) for kept in _live.rows(connection, node=node)} if draft.before else {}
    names = {chunk.blob for chunk in wanted}
    if len(names) < len(wanted) or len({chunk.id for chunk in wanted}) < len(wanted):
        raise Malformed("a chunk is there twice")
    grown = {home: 0}
    dropped = [kept for name, kept in live.items() if name not in names]
    grown[home] -= sum(kept.size for kept in dropped)
    added = [chunk for chunk in wanted if chunk.blob not in live]
    known = _known(connection, _locked_records, (chunk.blob for chunk in added))
    for chunk in added:
        row = known.get(chunk.blob)
        if row is None or (row.uploader, row.state) != (user, State.RESERVED):
            raise Malformed("a blob has not been announced, or so long ago that it has gone")
        if (row.id, row.size) != (chunk.id, chunk.size):
            raise Malformed("a blob has been announced as another one")
        if row.home != home:
            grown[home] += row.size
            grown[row.home] = grown.get(row.home, 0) - row.size
    _drop.run(connection, *({"name": kept.blob, "now": now} for kept in dropped))
    _refer.run(connection, *({"name": chunk.blob, "now": now, "of": node, "at": home} for chunk in added))
    return grown


def release(connection: Connection, node: NodeId, now: int) -> int:
    """Nothing of a node is referred to any more; the bytes that were."""
    ((freed,),) = _live_bytes.rows(connection, node=node)
    if freed:
        _release.run(connection, {"of": node, "now": now})
    return int(freed)


def readable(connection: Connection, user: UserId, blobs: Sequence[BlobName]) -> Sequence[BlobName]:
    """Those of the present content of nodes that the user may read, and of the content before, for who is at it."""
    known = _known(connection, _records, blobs).values()
    found = [row for row in known if row.state in (State.LIVE, State.DEAD)]
    rights = access.rights(connection, user, {row.node for row in found if row.node})
    allowed = {row.blob for row in found if row.node in rights}
    return [blob for blob in blobs if blob in allowed]


def expected(connection: Connection, user: UserId, blob: BlobName) -> int:
    """The size announced by the user for an upload that nothing refers to yet, in bytes; Missing."""
    row = _known(connection, _records, [blob]).get(blob)
    if row is None or (row.uploader, row.state) != (user, State.RESERVED):
        raise Missing("no such upload has been announced")
    return row.size


def _known(connection: Connection, query: Batched, names: Iterable[BlobName]) -> dict[BlobName, Record]:
    records = (Record(*row) for row in query.rows(connection, ((name,) for name in names)))
    return {record.blob: record for record in records}
