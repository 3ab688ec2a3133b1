"""Chunks of nodes: announced before they are sent, referred to with the node, counted in the quota."""

from __future__ import annotations

import asyncio
import os

from msgspec.structs import replace
from sqlalchemy import Connection, update

from broker.drive.errors import Malformed, Missing, NodeChanged, QuotaExceeded
from broker.drive.metadata.accounts import Terms
from broker.drive.metadata.announced import ABANDONED_SECONDS
from broker.drive.metadata.protocol import PutNode
from broker.drive.metadata.schema import chunks
from broker.drive.metadata.store import SqlStore, open_store
from broker.drive.records import Chunk, Right
from tests.broker.drive.metadata.helpers import (
    WithStore,
    entry,
    following,
    new_chunk,
    new_node,
    operation,
    refused,
    register,
)


def by_id(*chunks: Chunk) -> list[Chunk]:
    return sorted(chunks, key=lambda chunk: chunk.id)


def test_a_node_refers_to_what_was_announced(with_store: WithStore) -> None:
    """Chunks come with the version they belong to; those kept stay, and None keeps all."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        node = await alice.create(alice.home, "file")
        one, two, three = new_chunk(), new_chunk(), new_chunk()
        second = await alice.put_content(node, one, two)
        assert list(await alice.store.chunks(node.id, 2)) == by_id(one, two)
        third = await alice.put_content(second, two, three)
        assert list(await alice.store.chunks(node.id, 3)) == by_id(two, three)
        await refused(NodeChanged, alice.store.chunks(node.id, 2))
        await alice.commit(PutNode(following(third)))
        assert list(await alice.store.chunks(node.id, 4)) == by_id(two, three)
        names = [chunk.blob for chunk in (one, two, three)]
        assert await alice.store.readable([*names, new_chunk().blob]) == names
        await alice.remove(alice.home, "file")
        await refused(Missing, alice.store.chunks(node.id, 4))
        assert await alice.store.readable(names) == []

    with_store(test)


def test_nobody_takes_hold_of_anothers_blob(with_store: WithStore) -> None:
    """A commit refers only to what its own user has announced, once, and as it was announced."""

    async def test(store: SqlStore) -> None:
        alice, bob = await register(store), await register(store)
        node, his = await alice.create(alice.home, "file"), await bob.create(bob.home, "file")
        chunk, announced = new_chunk(), new_chunk()
        await alice.put_content(node, chunk)
        await alice.store.reserve(operation(), [announced])
        other = await alice.create(alice.home, "other")
        for taken in (chunk, announced, new_chunk()):
            await refused(Malformed, bob.commit(PutNode(following(his), [taken])))
        await refused(Malformed, bob.store.reserve(operation(), [announced]))
        await refused(Malformed, bob.store.reserve(operation(), [chunk]))
        await refused(Malformed, alice.commit(PutNode(following(other), [chunk])))
        await refused(Malformed, alice.commit(PutNode(following(other), [replace(announced, size=1)])))
        await refused(Malformed, alice.commit(PutNode(following(other), [announced, announced])))
        await refused(Missing, bob.store.expected(announced.blob))
        await alice.commit(PutNode(following(other), [announced]))

    with_store(test)


def test_uploads_are_expected_until_they_are_referred_to(with_store: WithStore) -> None:
    """The size of an announced upload is known; announcing it again changes nothing."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        node = await alice.create(alice.home, "file")
        chunk = new_chunk(1234)
        before = (await alice.store.usage()).bytes
        same = operation()
        await alice.store.reserve(same, [chunk])
        await alice.store.reserve(same, [chunk])
        assert await alice.store.expected(chunk.blob) == 1234
        assert (await alice.store.usage()).bytes == before + 1234
        await refused(Malformed, alice.store.reserve(same, [replace(chunk, size=1)]))
        await alice.commit(PutNode(following(node), [chunk]))
        await refused(Missing, alice.store.expected(chunk.blob))
        assert (await alice.store.usage()).bytes == before + 1234

    with_store(test)


def test_usage_is_what_is_there(with_store: WithStore) -> None:
    """Bodies, inline content, chunks and nodes count, and no more when they have gone."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        before = await alice.store.usage()
        node = new_node(body=100, inline=True)
        await alice.commit(PutNode(node, (), b"x" * 50), entry(alice.home, "file", node.id))
        usage = await alice.store.usage()
        assert (usage.bytes, usage.nodes) == (before.bytes + 150, before.nodes + 1)
        chunk = new_chunk(1000)
        await alice.store.reserve(operation(), [chunk])
        second = following(node, inline=False)
        await alice.commit(PutNode(second, [chunk], b""))
        assert (await alice.store.usage()).bytes == before.bytes + 1100
        await alice.commit(PutNode(following(second), []))
        assert (await alice.store.usage()).bytes == before.bytes + 100
        await alice.remove(alice.home, "file")
        assert await alice.store.usage() == before

    with_store(test)


def test_quotas(new_url: str) -> None:
    """Neither an upload, nor content, nor another file beyond the limit; removing is always possible."""

    async def test() -> None:
        store = await open_store(new_url, create=True, signed=None, terms=Terms(bytes_limit=5000, nodes_limit=3))
        try:
            alice, bob = await register(store), await register(store)
            folder = await alice.folder(alice.home, "folder")
            await alice.create(folder.id, "file")
            new = new_node()
            await refused(QuotaExceeded, alice.commit(PutNode(new), entry(folder.id, "more", new.id)))
            await refused(QuotaExceeded, alice.store.reserve(operation(), [new_chunk(5000)]))
            large = replace(following(folder), body=os.urandom(6000))
            await refused(QuotaExceeded, alice.commit(PutNode(large)))
            # What a guest stores counts for the host.
            await alice.share(folder.id, bob.id, Right.WRITE)
            await refused(QuotaExceeded, bob.commit(PutNode(new), entry(folder.id, "more", new.id)))
            await refused(QuotaExceeded, bob.store.reserve(operation(), [new_chunk(5000)], alice.home))
            await alice.remove(folder.id, "file")
            usage = await alice.store.usage()
            assert (usage.nodes, usage.nodes_limit, usage.bytes_limit) == (2, 3, 5000)
            await bob.commit(PutNode(new), entry(folder.id, "more", new.id))
        finally:
            await store.close()

    asyncio.run(test())


def test_uploads_that_were_given_up_make_room(new_url: str) -> None:
    """A day after they broke off, whoever needs the room gets it without a collection; theirs cannot come back."""

    async def test() -> None:
        store = await open_store(new_url, create=True, signed=None, terms=Terms(bytes_limit=5000))
        try:
            alice = await register(store)
            file = await alice.create(alice.home, "file")
            before = (await alice.store.usage()).bytes
            given_up, wanted = new_chunk(3000), new_chunk(2500)
            await alice.store.reserve(operation(), [given_up])
            await refused(QuotaExceeded, alice.store.reserve(operation(), [wanted]))
            await store.database.write(_later, ABANDONED_SECONDS + 1)
            await refused(QuotaExceeded, alice.store.reserve(operation(), [new_chunk(5000)]))
            assert await alice.store.expected(given_up.blob) == 3000
            await alice.store.reserve(operation(), [wanted])
            assert (await alice.store.usage()).bytes == before + 2500
            await refused(Malformed, alice.commit(PutNode(following(file), [given_up])))
            await alice.commit(PutNode(following(file), [wanted]))
            assert (await alice.store.usage()).bytes == before + 2500
            await alice.store.reserve(operation(), [new_chunk(2000)])
            await store.database.write(_later, ABANDONED_SECONDS + 1)
            note = new_node(inline=True)
            await alice.commit(PutNode(note, (), b"x" * 1000), entry(alice.home, "note", note.id))
            assert (await alice.store.usage()).bytes == before + 2500 + 1000 + len(note.body)
        finally:
            await store.close()

    asyncio.run(test())


def _later(connection: Connection, seconds: int) -> None:
    connection.execute(update(chunks).values(since_ns=chunks.c.since_ns - seconds * 10**9))


def test_a_reservation_moves_to_the_home_it_ends_in(with_store: WithStore) -> None:
    """A guest who announced a chunk on the own account is free of it when it is stored in the host's tree."""

    async def test(store: SqlStore) -> None:
        alice, bob = await register(store), await register(store)
        file = await alice.create(alice.home, "file")
        await alice.share(file.id, bob.id, Right.WRITE)
        hers, his = await alice.store.usage(), await bob.store.usage()
        chunk = new_chunk(777)
        await bob.store.reserve(operation(), [chunk])
        assert (await bob.store.usage()).bytes == his.bytes + 777
        await bob.commit(PutNode(following(file), [chunk]))
        assert await bob.store.usage() == his
        assert (await alice.store.usage()).bytes == hers.bytes + 777

    with_store(test)
