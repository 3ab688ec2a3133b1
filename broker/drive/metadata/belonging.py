"""Which database the blobs of a store belong to: collection would delete all that its own database does not know."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from broker.drive.blobs.protocol import BlobStore, StoredBlob
from broker.drive.errors import Unusable
from broker.drive.metadata.database import Database
from broker.drive.metadata.schema import State, chunks, store
from broker.drive.metadata.statements import Batched


async def require(database: Database, blobs: BlobStore, *, lost: bool = False) -> None:
    """Unusable, saying what to do, unless the blobs are those of the database.

    A store without a mark gets one when nothing is in it yet, or when it is older than marks and the database knows
    something in it: names are random, so that one is enough. `lost`: nothing in it may also be all that is left.
    """
    own = await database.read(_server_id)
    found = await blobs.owner()
    if found is None:
        await _check_unmarked(database, blobs, lost)
        await blobs.claim(own)
        found = await blobs.owner()  # another database can have been at it meanwhile
    if found != own:
        raise Unusable(
            "the blobs belong to another database (their mark says so): give the database and the blobs that belong "
            "together, or an empty place for blobs to a new database"
        )


async def _check_unmarked(database: Database, blobs: BlobStore, lost: bool) -> None:
    empty = True
    async for page in blobs.list():
        known = await database.read(_knows, page)
        if known:
            return
        empty = empty and not page
    if not empty:
        raise Unusable(
            "the database knows none of the blobs, so that they will be another's: give the database and the blobs "
            "that belong together, or an empty place for blobs to a new database"
        )
    if not lost and await database.read(_refers):
        raise Unusable(
            "no blob is there, but files refer to some: give the blobs that belong to the database; if all are lost, "
            "fsck --repair says which files had them, and takes the empty place for theirs"
        )


_known = Batched(lambda keys: select(chunks.c.blob).where(keys), chunks.c.blob)
_some_live = select(chunks.c.blob).where(chunks.c.state == State.LIVE.value).limit(1)


def _server_id(connection: Connection) -> bytes:
    return bytes(connection.execute(select(store.c.server_id)).scalar_one())


def _knows(connection: Connection, found: Sequence[StoredBlob]) -> bool:
    return any(True for _ in _known.rows(connection, ((blob.name,) for blob in found)))


def _refers(connection: Connection) -> bool:
    return connection.execute(_some_live).first() is not None
