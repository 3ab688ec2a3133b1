"""What the collection deletes, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, func, insert, select, update

from broker.drive.errors import Malformed, Unusable
from broker.drive.metadata.announced import ABANDONED_SECONDS
from broker.drive.metadata.clock import now_ns
from broker.drive.metadata.collection import Collected, collect
from broker.drive.metadata.protocol import PutNode
from broker.drive.metadata.schema import chunks, entries, leases, operations
from broker.drive.metadata.store import SqlStore
from broker.drive.records import BlobName, Chunk
from tests.broker.drive.metadata.helpers import (
    Blobs,
    WithStore,
    entry,
    following,
    new_chunk,
    operation,
    refused,
    register,
)

GRACE = 3600


def later(connection: Connection, seconds: int) -> None:
    """Everything is older by that much."""
    connection.execute(update(chunks).values(since_ns=chunks.c.since_ns - seconds * 10**9))
    connection.execute(update(operations).values(since_ns=operations.c.since_ns - seconds * 10**9))


def rows_of(connection: Connection, *names: Chunk) -> set[str]:
    found = connection.scalars(select(chunks.c.blob).where(chunks.c.blob.in_([chunk.blob for chunk in names])))
    return set(found)


def test_only_what_nothing_refers_to_goes_and_only_after_the_grace(with_new_store: WithStore) -> None:
    """Replaced, removed and abandoned chunks and unknown blobs go when they are old; what a node has stays."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        kept, replaced, removed, abandoned, unknown = (new_chunk(size) for size in (1, 20, 300, 4000, 50000))
        file, other = await alice.create(alice.home, "file"), await alice.create(alice.home, "other")
        await alice.put_content(await alice.put_content(file, kept, replaced), kept)
        await alice.put_content(other, removed)
        await alice.remove(alice.home, "other")
        await alice.store.reserve(operation(), [abandoned])
        blobs = Blobs()
        blobs.put(kept, replaced, removed, abandoned, unknown)
        before = dict(blobs.sizes)
        assert await collect(store.database, blobs, GRACE) == Collected(0, 0, 1)
        assert blobs.sizes == before
        usage = await alice.store.usage()
        await store.database.write(later, GRACE + 1)
        recent = new_chunk()
        await alice.store.reserve(operation(), [recent])
        blobs.put(recent)
        assert await collect(store.database, blobs, GRACE) == Collected(4, 54320, 0)
        assert set(blobs.sizes) == {kept.blob, recent.blob}
        assert (await alice.store.usage()).bytes == usage.bytes - 4000 + recent.size
        left = await store.database.read(rows_of, kept, replaced, removed, abandoned, unknown, recent)
        assert left == {kept.blob, recent.blob}
        assert list(await alice.store.chunks(file.id, 3)) == [kept]

    with_new_store(test)


def test_uploads_that_were_given_up_go_sooner(with_new_store: WithStore) -> None:
    """After a day, however long the grace is; not as long as their operation goes on announcing."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        file = await alice.create(alice.home, "file")
        given_up, first, next, dead = (new_chunk() for _ in range(4))
        await alice.put_content(await alice.put_content(file, dead))
        long = operation()
        await alice.store.reserve(operation(), [given_up])
        await alice.store.reserve(long, [first])
        blobs = Blobs()
        blobs.put(given_up, first, next, dead)
        await store.database.write(later, ABANDONED_SECONDS + 1)
        await alice.store.reserve(long, [next])
        assert await collect(store.database, blobs, 30 * ABANDONED_SECONDS) == Collected(1, given_up.size, 0)
        assert set(blobs.sizes) == {first.blob, next.blob, dead.blob}
        await alice.commit(PutNode(replace(file, version=4), [first, next]))

    with_new_store(test)


def test_what_is_condemned_cannot_come_back(with_new_store: WithStore) -> None:
    """A commit that refers to an upload which is being collected fails; so does announcing it again."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        file = await alice.create(alice.home, "file")
        chunk = new_chunk()
        await alice.store.reserve(operation(), [chunk])
        await store.database.write(later, GRACE + 1)

        class Committing(Blobs):
            async def delete(self, names: Sequence[BlobName]) -> None:
                await refused(Malformed, alice.commit(PutNode(following(file), [chunk])))
                await super().delete(names)

        assert await collect(store.database, Committing(), GRACE) == Collected(1, chunk.size, 0)
        await refused(Malformed, alice.commit(PutNode(following(file), [chunk])))

    with_new_store(test)


def test_a_collection_that_died_is_finished_by_the_next(with_new_store: WithStore) -> None:
    """What was condemned and not deleted goes with the next collection, and counts once for the quota."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        before = await alice.store.usage()
        chunk = new_chunk()
        await alice.store.reserve(operation(), [chunk])
        await store.database.write(later, GRACE + 1)

        class Failing(Blobs):
            async def delete(self, names: object) -> None:
                raise RuntimeError("died")

        blobs = Blobs()
        blobs.put(chunk)
        with pytest.raises(RuntimeError):
            await collect(store.database, Failing(), GRACE)
        assert await collect(store.database, blobs, GRACE) == Collected(1, chunk.size, 0)
        assert blobs.sizes == {}
        assert await alice.store.usage() == before

    with_new_store(test)


def test_one_collection_at_a_time(with_new_store: WithStore) -> None:
    """A second one is told to wait while the first has its lease, and takes its place when that has run out."""

    async def test(store: SqlStore) -> None:
        await store.database.write(_lease, 600)
        with pytest.raises(Unusable, match="try again later"):
            await collect(store.database, Blobs(), GRACE)
        await store.database.write(_lease, -1)
        assert await collect(store.database, Blobs(), GRACE) == Collected(0, 0, 0)

    with_new_store(test)


def _lease(connection: Connection, seconds: int) -> None:
    connection.execute(leases.delete())
    values = {"name": "collection", "holder": b"somebody", "expires_ns": now_ns() + seconds * 10**9}
    connection.execute(insert(leases).values(values))


def test_records_that_nobody_needs_go(with_new_store: WithStore) -> None:
    """Tombstones under older keys and operations of long ago go; tombstones under the present keys stay."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        folder = await alice.folder(alice.home, "folder")
        for name in ("old", "also old"):
            await alice.create(folder.id, name)
            await alice.remove(folder.id, name)
        await alice.commit(PutNode(following(folder, rekeyed=True)), entry(alice.home, "folder", folder.id, 2))
        await alice.create(folder.id, "new", epoch=2)
        await alice.commit(entry(folder.id, "new", None, 2, epoch=2))
        await collect(store.database, Blobs(), GRACE)
        assert await store.database.read(_counts) == (2, 8)
        await store.database.write(later, 25 * 3600)
        await collect(store.database, Blobs(), GRACE)
        assert await store.database.read(_counts) == (2, 0)

    with_new_store(test)


def _counts(connection: Connection) -> tuple[int, int]:
    """Entries, operations."""
    return (
        connection.execute(select(func.count()).select_from(entries)).scalar_one(),
        connection.execute(select(func.count()).select_from(operations)).scalar_one(),
    )
