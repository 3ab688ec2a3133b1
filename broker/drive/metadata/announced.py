"""Uploads that were announced and have come to nothing: what they hold of a quota is given back after a while."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, and_, bindparam, literal_column, or_, select, update

from broker.drive.errors import QuotaExceeded
from broker.drive.metadata import clock
from broker.drive.metadata.before import Home
from broker.drive.metadata.clock import SECOND
from broker.drive.metadata.schema import State, chunks
from broker.drive.metadata.statements import Prepared
from broker.drive.records import NodeId

ABANDONED_SECONDS = 24 * 3600
"""After which nothing comes of an upload any more. One that goes on for longer announces a few chunks at a time: as
long as some of its operation are younger, all of it is."""

_reserved: ColumnElement[int] = literal_column(str(State.RESERVED.value))
"""Written out, as is what the index on them says: a parameter would keep databases from taking it."""
_others = chunks.alias("others")
_since = bindparam("abandoned", type_=chunks.c.since_ns.type)
_under_way = select(_others.c.node).where(
    _others.c.state == _reserved,
    _others.c.state != literal_column(str(State.LIVE.value)),
    _others.c.since_ns > _since,
    _others.c.node.is_not(None),
)


def abandoned() -> ColumnElement[bool]:
    """Whether a chunk is of an upload that has not gone on since :abandoned, in ns since 1970."""
    return and_(
        chunks.c.state == _reserved,
        chunks.c.state != literal_column(str(State.LIVE.value)),
        chunks.c.since_ns <= _since,
        or_(chunks.c.node.is_(None), chunks.c.node.not_in(_under_way)),
    )


_of_home = Prepared(
    select(chunks.c.blob, chunks.c.size).where(abandoned(), chunks.c.home == bindparam("home")).with_for_update()
)
_condemn = Prepared(
    update(chunks).where(chunks.c.blob == bindparam("name")).values(state=literal_column(str(State.CONDEMNED.value)))
)


def make_room(connection: Connection, home: Home, grown: int) -> int:
    """QuotaExceeded unless a home, whose lock is held, may grow by so many bytes; how many came free for that."""
    excess = home.bytes + grown - home.bytes_limit
    if grown <= 0 or not home.bytes_limit or excess <= 0:
        return 0
    freed = _give_up(connection, home.id)
    if freed < excess:
        raise QuotaExceeded(f"{home.bytes_limit} bytes are all that this user may have")
    return freed


def _give_up(connection: Connection, home: NodeId) -> int:
    """Condemn what is abandoned on the account of a home; its bytes. The next collection deletes the blobs."""
    found = _of_home.rows(connection, home=home, abandoned=clock.now(connection) - ABANDONED_SECONDS * SECOND)
    _condemn.run(connection, *({"name": blob} for blob, _ in found))
    return sum(size for _, size in found)
