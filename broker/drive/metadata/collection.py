"""Collection: blobs that nothing refers to are deleted after a grace, and records that nobody needs any more.

A blob goes in three steps: it is condemned in SQL, so that no commit can refer to it; deleted; and forgotten. Whoever
dies in between leaves it condemned, for the next one. Nothing that a node refers to is ever touched.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update

from broker.drive.blobs.protocol import BlobStore, StoredBlob
from broker.drive.errors import Unusable
from broker.drive.metadata import belonging, clock
from broker.drive.metadata.announced import ABANDONED_SECONDS, abandoned
from broker.drive.metadata.clock import SECOND, now_ns
from broker.drive.metadata.database import Database
from broker.drive.metadata.schema import (
    State,
    challenges,
    chunks,
    entries,
    homes,
    leases,
    nodes,
    operations,
    tokens,
)
from broker.drive.metadata.statements import Batched
from broker.drive.records import BlobName

LEASE_SECONDS = 600
"""After which a collection that has died is in nobody's way."""
REMEMBERED_SECONDS = 24 * 3600
"""How long a commit can be repeated."""
_NAME = "collection"
_PAGE = 1000


class Collected(Struct, frozen=True):
    """`blobs` deleted, of `bytes`; `found` without a record, which go when their grace is over."""

    blobs: int
    bytes: int
    found: int


async def collect(database: Database, blobs: BlobStore, grace: int) -> Collected:
    """Delete what nothing has referred to for `grace` seconds, which must be longer than backups are old, and what
    nothing has ever referred to after a day, or after `grace` if that is less.

    Unusable while another one is at it, and where the blobs are another database's.
    """
    await belonging.require(database, blobs)
    holder = os.urandom(16)
    await database.write(_take_lease, holder)
    try:
        found = 0
        async for page in blobs.list():
            found += await database.write(adopt, page)
        number = total = 0
        while condemned := await database.write_durably(_condemn, holder, grace):
            await blobs.delete([name for name, _ in condemned])
            await database.write(_forget, [name for name, _ in condemned])
            number, total = number + len(condemned), total + sum(size for _, size in condemned)
        await database.write(_purge)
        return Collected(number, total, found)
    finally:
        await database.write(_end_lease, holder)


_lease = select(leases.c.holder, (leases.c.expires_ns > now_ns()).label("valid")).where(leases.c.name == _NAME)
_known = Batched(lambda keys: select(chunks.c.blob).where(keys), chunks.c.blob)
_dead = and_(chunks.c.state == State.DEAD.value, chunks.c.since_ns <= bindparam("dead", type_=chunks.c.since_ns.type))
_goes = or_(_dead, abandoned(), chunks.c.state == State.CONDEMNED.value)
_candidates = select(chunks.c.blob, chunks.c.home).where(_goes).limit(_PAGE)
_homes = Batched(lambda keys: select(homes.c.id).where(keys).order_by(homes.c.id).with_for_update(), homes.c.id)
_doomed = Batched(
    lambda keys: (
        select(chunks.c.blob, chunks.c.home, chunks.c.size, chunks.c.state).where(keys, _goes).with_for_update()
    ),
    chunks.c.blob,
)
_condemned = update(chunks).where(chunks.c.blob == bindparam("name")).values(state=State.CONDEMNED.value)
_free = update(homes).where(homes.c.id == bindparam("at")).values(bytes=homes.c.bytes - bindparam("freed"))
_forgotten = delete(chunks).where(chunks.c.blob == bindparam("name"), chunks.c.state == State.CONDEMNED.value)


def adopt(connection: Connection, found: Sequence[StoredBlob]) -> int:
    """Put blobs that have no record on record as referred to by nothing, from now on; how many those are."""
    known = {name for (name,) in _known.rows(connection, ((blob.name,) for blob in found))}
    now = clock.now(connection)
    common = {"id": b"", "node": None, "home": None, "uploader": None, "state": State.DEAD.value, "since_ns": now}
    unknown = [{"blob": blob.name, "size": blob.size} | common for blob in found if blob.name not in known]
    if unknown:
        connection.execute(insert(chunks), unknown)
    return len(unknown)


def _condemn(connection: Connection, holder: bytes, grace: int) -> Sequence[tuple[BlobName, int]]:
    """Some blobs whose time has come, with their sizes. What was only announced counts for no quota any more."""
    _keep_lease(connection, holder)
    now = clock.now(connection)
    times = {"dead": now - grace * SECOND, "abandoned": now - min(grace, ABANDONED_SECONDS) * SECOND}
    candidates = connection.execute(_candidates, times).fetchall()
    # Homes before chunks, as in a commit. Between the first look and the locks, a commit may have taken one.
    list(_homes.rows(connection, sorted({(home,) for _, home in candidates if home})))
    doomed = list(_doomed.rows(connection, ((blob,) for blob, _ in candidates), **times))
    freed: dict[bytes, int] = {}
    for _, home, size, state in doomed:
        if state == State.RESERVED:
            freed[home] = freed.get(home, 0) + size
    if doomed:
        connection.execute(_condemned, [{"name": blob} for blob, *_ in doomed])
    if freed:
        connection.execute(_free, [{"at": home, "freed": bytes} for home, bytes in freed.items()])
    return [(blob, size) for blob, _, size, _ in doomed]


def _forget(connection: Connection, names: Sequence[BlobName]) -> None:
    connection.execute(_forgotten, [{"name": name} for name in names])


def _purge(connection: Connection) -> None:
    """Records that cannot matter any more.

    A tombstone made under older keys of its folder is one: no entry under these keys is taken again.
    """
    now = clock.now(connection)
    epoch = select(nodes.c.epoch).where(nodes.c.id == entries.c.parent).scalar_subquery()
    connection.execute(delete(entries).where(entries.c.child.is_(None), entries.c.epoch < epoch))
    connection.execute(delete(operations).where(operations.c.since_ns < now - REMEMBERED_SECONDS * SECOND))
    connection.execute(delete(challenges).where(challenges.c.expires < now // SECOND))
    connection.execute(delete(tokens).where(tokens.c.expires < now // SECOND))


def _take_lease(connection: Connection, holder: bytes) -> None:
    row = connection.execute(_lease).first()
    if row is not None and row.valid:
        raise Unusable("another collection is at work, or has died just now: try again later")
    connection.execute(delete(leases).where(leases.c.name == _NAME))
    connection.execute(insert(leases), {"name": _NAME, "holder": holder, "expires_ns": _expiry(connection)})


def _keep_lease(connection: Connection, holder: bytes) -> None:
    row = connection.execute(_lease).first()
    if row is None or row.holder != holder:
        raise Unusable("another collection has begun, because this one has stood still for too long")
    connection.execute(update(leases).where(leases.c.name == _NAME).values(expires_ns=_expiry(connection)))


def _end_lease(connection: Connection, holder: bytes) -> None:
    connection.execute(delete(leases).where(leases.c.name == _NAME, leases.c.holder == holder))


def _expiry(connection: Connection) -> int:
    return clock.now(connection) + LEASE_SECONDS * SECOND
