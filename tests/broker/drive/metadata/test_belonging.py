"""Nothing is done with the blobs of another database: to collect them would be to delete all."""

from __future__ import annotations

import pytest

from broker.drive.errors import Unusable
from broker.drive.metadata.belonging import require
from broker.drive.metadata.checks import Finding, check, repair
from broker.drive.metadata.collection import Collected, collect
from broker.drive.metadata.store import SqlStore
from broker.drive.records import Chunk, Node
from tests.broker.drive.metadata.helpers import Blobs, WithStore, new_chunk, operation, register

ANOTHERS = "give the database and the blobs that belong together"


async def file_of(store: SqlStore, chunk: Chunk) -> Node:
    alice = await register(store)
    return await alice.put_content(await alice.create(alice.home, "file"), chunk)


async def refused(store: SqlStore, blobs: Blobs, message: str) -> None:
    before = dict(blobs.sizes)
    for attempt in (collect(store.database, blobs, 0), check(store.database, blobs)):
        with pytest.raises(Unusable, match=message):
            await attempt
    assert blobs.sizes == before


def test_marked_blobs_of_another_are_refused(with_new_store: WithStore) -> None:
    """Whatever is in the store: nothing is collected or checked, and repairing takes nothing over."""

    async def test(store: SqlStore) -> None:
        blobs = Blobs()
        await require(store.database, blobs)
        assert blobs.mark == await store.accounts.server_id()
        blobs.mark = b"another"
        blobs.put(new_chunk())
        await refused(store, blobs, ANOTHERS)
        with pytest.raises(Unusable, match=ANOTHERS):
            await repair(store.database, blobs)
        assert blobs.mark == b"another"

    with_new_store(test)


def test_unmarked_blobs_are_told_by_the_database(with_new_store: WithStore) -> None:
    """One that the database knows is enough to mark a store of before; of another's, it knows none."""

    async def test(store: SqlStore) -> None:
        chunk, announced = new_chunk(), new_chunk()
        await file_of(store, chunk)
        blobs = Blobs()
        blobs.put(*(new_chunk() for _ in range(3)))
        await refused(store, blobs, ANOTHERS)
        assert blobs.mark is None
        blobs.put(chunk)
        assert await collect(store.database, blobs, 3600) == Collected(0, 0, 3)
        assert blobs.mark == await store.accounts.server_id()
        await (await register(store)).store.reserve(operation(), [announced])
        older = Blobs({announced.blob: announced.size})
        await require(store.database, older)
        assert older.mark == blobs.mark

    with_new_store(test)


def test_an_empty_place_is_a_mistake_where_files_have_blobs(with_new_store: WithStore) -> None:
    """Unless all are lost: a repair says which, and goes on with the empty place."""

    async def test(store: SqlStore) -> None:
        chunk = new_chunk()
        file = await file_of(store, chunk)
        blobs = Blobs()
        await refused(store, blobs, "no blob is there, .* fsck --repair")
        assert await repair(store.database, blobs) == [Finding("a blob is missing", file.id, chunk.blob)]
        assert await collect(store.database, blobs, 3600) == Collected(0, 0, 0)

    with_new_store(test)
