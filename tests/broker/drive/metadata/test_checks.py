"""Checks find what is wrong in a store, and nothing in one that is right; repairs put counts and records right."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Executable, delete, update

from broker.drive.metadata.checks import Finding, check, repair
from broker.drive.metadata.protocol import PutNode
from broker.drive.metadata.schema import chunks, contents, entries, homes, nodes
from broker.drive.metadata.store import SqlStore
from broker.drive.records import Node
from tests.broker.drive.metadata.helpers import (
    Blobs,
    Client,
    WithStore,
    entry,
    new_chunk,
    new_node,
    operation,
    register,
    token,
)


async def some_tree(store: SqlStore) -> tuple[Client, Node, Node, Blobs]:
    """A user with a folder, and in it a file of one chunk; what the blob store has."""
    alice = await register(store)
    folder = await alice.folder(alice.home, "folder")
    chunk = new_chunk(500)
    file = await alice.put_content(await alice.create(folder.id, "file"), chunk)
    await alice.commit(entry(alice.home, "link", file.id))
    small = new_node(inline=True)
    await alice.commit(PutNode(small, (), b"content"), entry(alice.home, "small", small.id))
    await alice.put_content(await alice.create(alice.home, "gone"), new_chunk())
    await alice.remove(alice.home, "gone")
    await alice.store.reserve(operation(), [new_chunk()])
    blobs = Blobs()
    blobs.put(chunk)
    return alice, folder, file, blobs


def do(connection: Connection, *statements: Executable) -> None:
    for statement in statements:
        connection.execute(statement)


def said(found: Sequence[Finding]) -> list[tuple[str, object]]:
    return [(finding.what, finding.node) for finding in found]


def test_nothing_is_wrong_with_a_good_store(with_new_store: WithStore) -> None:
    """Links, inline contents, removed files and uploads under way are no errors."""

    async def test(store: SqlStore) -> None:
        _, _, _, blobs = await some_tree(store)
        assert await check(store.database, blobs) == []

    with_new_store(test)


def test_missing_and_unknown_blobs(with_new_store: WithStore) -> None:
    """A node whose blob is missing or of another size is named; a blob on no record is put on record by a repair."""

    async def test(store: SqlStore) -> None:
        _, _, file, blobs = await some_tree(store)
        (name,) = blobs.sizes
        stray = new_chunk()
        blobs.sizes = {name: 499, stray.blob: 5}
        assert await check(store.database, blobs) == [
            Finding("a blob has 499 bytes instead of 500", file.id, name),
            Finding("a blob is on no record", None, stray.blob, repairable=True),
        ]
        del blobs.sizes[name]
        assert await repair(store.database, blobs) == [Finding("a blob is missing", file.id, name)]

    with_new_store(test)


def test_counts_are_repaired(with_new_store: WithStore) -> None:
    """Wrong counts of names, bytes and nodes are found and put right; chunks of no node are freed."""

    async def test(store: SqlStore) -> None:
        alice, _, file, blobs = await some_tree(store)
        usage = await alice.store.usage()
        await store.database.write(
            do,
            update(nodes).where(nodes.c.id == file.id).values(links=7, charged=1),
            update(homes).values(bytes=5, nodes=6),
        )
        assert said(await check(store.database, blobs)) == [
            ("the count of its names is wrong", file.id),
            ("the count of its bytes is wrong", file.id),
            ("the counts of bytes or nodes in its tree are wrong", alice.home),
        ]
        assert await repair(store.database, blobs) == []
        assert await alice.store.usage() == usage
        await store.database.write(do, update(chunks).where(chunks.c.node == file.id).values(node=b"nobody"))
        found = await check(store.database, blobs)
        assert said(found) == [("a chunk belongs to a node that has gone", b"nobody")]
        assert await repair(store.database, blobs) == []
        assert (await alice.store.usage()).bytes == usage.bytes - 500

    with_new_store(test)


def test_damage_to_the_tree_is_named(with_new_store: WithStore) -> None:
    """Nodes without a name or with one where none can be, folders with two names, and lost contents are found."""

    async def test(store: SqlStore) -> None:
        alice, folder, file, blobs = await some_tree(store)
        bob = await register(store)
        lost = await alice.create(folder.id, "lost")
        inner = await alice.folder(folder.id, "inner")
        below = await alice.create(inner.id, "below")
        foreign = await alice.create(alice.home, "foreign")
        await store.database.write(
            do,
            delete(entries).where(entries.c.child == lost.id),
            update(entries).where(entries.c.child == foreign.id).values(parent=bob.home),
            update(entries).where(entries.c.child == below.id).values(parent=file.id),
            update(entries)
            .where(entries.c.parent == alice.home, entries.c.token == token("link"))
            .values(child=inner.id),
            delete(contents),
        )
        assert {*said(await check(store.database, blobs))} >= {
            ("no name leads to it", lost.id),
            ("it has a name in another user's tree", foreign.id),
            ("it has a name in something that is no folder", below.id),
            ("a folder has several names", inner.id),
        }
        assert "its inline content is missing" in {what for what, _ in said(await check(store.database, blobs))}
        assert {finding.what for finding in await repair(store.database, blobs)} == {
            "no name leads to it",
            "it has a name in another user's tree",
            "it has a name in something that is no folder",
            "a folder has several names",
            "its inline content is missing",
        }

    with_new_store(test)
