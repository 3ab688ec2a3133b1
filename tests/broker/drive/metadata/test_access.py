"""What a stranger, a reader, a writer and a former grantee can do with every operation; what is granted to whom."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from broker.drive.errors import Denied, DriveError, EpochChanged, Malformed, Missing, OtherHome
from broker.drive.metadata.protocol import Commit, DropGrant, PutGrant, PutNode
from broker.drive.metadata.store import SqlStore
from broker.drive.records import Kind, Node, NodeId, OperationId, Right
from tests.broker.drive.metadata.helpers import (
    Client,
    WithStore,
    entry,
    following,
    new_chunk,
    new_node,
    refused,
    register,
    token,
)


@dataclass(frozen=True)
class Scene:
    """Alice has shared a folder with a folder and a file below it, and has another file beside it."""

    alice: Client
    shared: Node
    below: Node
    file: Node
    private: Node


async def scene(store: SqlStore) -> Scene:
    alice = await register(store)
    shared = await alice.folder(alice.home, "shared")
    below = await alice.folder(shared.id, "below")
    file = new_node(inline=True)
    await alice.commit(PutNode(file, (), b"content"), entry(below.id, "file", file.id))
    chunk = new_chunk()
    file = following(file, inline=False)
    await alice.store.reserve(bytes(16), [chunk])
    await alice.commit(PutNode(file, [chunk], b""))
    return Scene(alice, shared, below, file, await alice.create(alice.home, "private"))


def reads(bob: Client, s: Scene) -> dict[str, Callable[[], Awaitable[object]]]:
    """Each asks for something below the shared folder."""
    return {
        "lookup": lambda: bob.store.lookup([(s.below.id, token("file"))]),
        "list": lambda: bob.store.list(s.shared.id),
        "list below": lambda: bob.store.list(s.below.id),
        "descendants": lambda: bob.store.descendants(s.shared.id),
        "chunks": lambda: bob.store.chunks(s.file.id, s.file.version),
    }


def writes(bob: Client, s: Scene) -> dict[str, Callable[[], Awaitable[object]]]:
    """Each changes something below the shared folder; they can be done in this order."""
    new, folder = new_node(), new_node(Kind.FOLDER)
    return {
        "put": lambda: bob.commit(PutNode(following(s.file))),
        "create": lambda: bob.commit(PutNode(new), entry(s.below.id, "new", new.id)),
        "mkdir": lambda: bob.commit(PutNode(folder), entry(s.shared.id, "folder", folder.id)),
        "link": lambda: bob.commit(entry(s.shared.id, "link", s.file.id)),
        "move": lambda: bob.commit(entry(s.shared.id, "link", None, 2), entry(s.below.id, "moved", s.file.id)),
        "move folder": lambda: bob.commit(
            entry(s.shared.id, "folder", None, 2), entry(s.below.id, "folder", folder.id)
        ),
        "unlink": lambda: bob.commit(entry(s.below.id, "moved", None, 2)),
        "rekey": lambda: bob.commit(
            PutNode(following(folder, rekeyed=True)), entry(s.below.id, "folder", folder.id, 2)
        ),
    }


def owners(bob: Client, s: Scene) -> dict[str, Callable[[], Awaitable[object]]]:
    """Each is for the owner alone."""
    return {
        "grant": lambda: bob.commit(bob.grant(s.shared.id, s.alice.id, Right.WRITE)),
        "regrant": lambda: bob.commit(s.alice.grant(s.shared.id, bob.id, Right.WRITE)),
        "drop": lambda: bob.commit(DropGrant(s.shared.id, bob.id)),
        "grants": lambda: bob.store.grants(s.shared.id),
    }


async def all_refused(error: type[DriveError], calls: dict[str, Callable[[], Awaitable[object]]]) -> None:
    for name, call in calls.items():
        try:
            await refused(error, call())
        except (AssertionError, pytest.fail.Exception) as failure:
            raise AssertionError(f"{name}: {failure}") from failure


async def sees_nothing(bob: Client, s: Scene) -> None:
    """Every operation, with the right ids, answers as if they did not exist."""
    await all_refused(Missing, {**reads(bob, s), **writes(bob, s), **owners(bob, s)})
    ids = [s.shared.id, s.below.id, s.file.id, s.private.id, s.alice.home]
    assert await bob.store.nodes(ids) == {}
    assert await bob.store.inline(ids) == {}
    chunks = await s.alice.store.chunks(s.file.id, s.file.version)
    assert await bob.store.readable([chunk.blob for chunk in chunks]) == []
    await refused(Missing, bob.store.reserve(bytes(16), [new_chunk()], s.alice.home))
    # Into the own home, whose folder would then lead to it.
    await refused(Missing, bob.commit(entry(bob.home, "taken", s.file.id)))
    await refused(Missing, bob.commit(entry(bob.home, "taken", s.below.id)))
    await refused(Missing, bob.commit(PutNode(s.private), entry(bob.home, "taken", s.private.id)))


def test_a_stranger_gets_nothing(with_store: WithStore) -> None:
    """A registered user who knows all ids finds nothing and changes nothing; the errors are those of unknown ids."""

    async def test(store: SqlStore) -> None:
        s, bob = await scene(store), await register(store)
        before = await s.alice.store.descendants(s.alice.home)
        await sees_nothing(bob, s)
        assert await bob.store.received() == []
        assert await s.alice.store.descendants(s.alice.home) == before

    with_store(test)


def test_a_reader_reads(with_store: WithStore) -> None:
    """A read grant opens the node and all below it, and nothing beside or above; what it does not allow is Denied."""

    async def test(store: SqlStore) -> None:
        s, bob = await scene(store), await register(store)
        await s.alice.share(s.shared.id, bob.id, Right.READ)
        for name, call in reads(bob, s).items():
            assert await call(), name
        assert set(await bob.store.nodes([s.shared.id, s.file.id, s.private.id, s.alice.home])) == {
            s.shared.id,
            s.file.id,
        }
        chunks = await bob.store.chunks(s.file.id, s.file.version)
        assert await bob.store.readable([chunk.blob for chunk in chunks]) == [chunk.blob for chunk in chunks]
        ((grant, stored),) = await bob.store.received()
        assert (grant.node, grant.owner, grant.right, stored.node.id) == (
            s.shared.id,
            s.alice.id,
            Right.READ,
            s.shared.id,
        )
        only_writing = {name: call for name, call in writes(bob, s).items() if name not in ("move folder",)}
        await all_refused(Denied, {**only_writing, **owners(bob, s)})
        await refused(Missing, bob.store.list(s.alice.home))
        await refused(Missing, bob.store.lookup([(s.alice.home, token("shared"))]))
        await refused(Denied, bob.commit(entry(bob.home, "taken", s.file.id)))
        await refused(Denied, bob.commit(entry(s.shared.id, "taken", s.private.id)))
        await refused(Missing, bob.store.reserve(bytes(16), [new_chunk()], s.alice.home))

    with_store(test)


def test_a_writer_writes(with_store: WithStore) -> None:
    """A write grant allows every change below, and neither sharing, nor what is beside, nor to take it home."""

    async def test(store: SqlStore) -> None:
        s, bob = await scene(store), await register(store)
        await s.alice.share(s.shared.id, bob.id, Right.WRITE)
        await refused(OtherHome, bob.commit(entry(bob.home, "taken", s.file.id)))
        own = await bob.create(bob.home, "own")
        await refused(OtherHome, bob.commit(entry(s.shared.id, "own", own.id)))
        await refused(Missing, bob.commit(entry(s.shared.id, "taken", s.private.id)))
        await refused(Missing, bob.commit(entry(s.alice.home, "new", s.file.id)))
        await all_refused(Denied, owners(bob, s))
        await bob.store.reserve(bytes(16), [new_chunk()], s.alice.home)
        for name, call in {**reads(bob, s), **writes(bob, s)}.items():
            assert await call(), name

    with_store(test)


def test_a_former_grantee_gets_nothing(with_store: WithStore) -> None:
    """When the grant is dropped all is as before it, also for what the grantee made or linked below."""

    async def test(store: SqlStore) -> None:
        s, bob = await scene(store), await register(store)
        await s.alice.share(s.shared.id, bob.id, Right.WRITE)
        made = await bob.create(s.shared.id, "made")
        await bob.commit(entry(s.shared.id, "link", s.file.id))
        await s.alice.commit(DropGrant(s.shared.id, bob.id))
        assert await bob.store.received() == []
        await sees_nothing(bob, s)
        assert await bob.store.nodes([made.id]) == {}
        await refused(Missing, bob.commit(PutNode(following(made))))

    with_store(test)


def test_a_former_grantee_learns_nothing_by_repeating(with_store: WithStore) -> None:
    """A commit of the time before is answered again, but of the folder as it is now it says nothing any more."""

    async def test(store: SqlStore) -> None:
        alice, bob = await register(store), await register(store)
        folder, file = await alice.folder(alice.home, "folder"), new_node()
        await alice.share(folder.id, bob.id, Right.WRITE)
        create = Commit(OperationId(os.urandom(16)), (PutNode(file), entry(folder.id, "file", file.id)))
        assert (await bob.store.commit(create)).nodes.keys() == {folder.id, file.id}
        assert (await bob.store.commit(create)).nodes.keys() == {folder.id, file.id}
        await alice.commit(DropGrant(folder.id, bob.id))
        assert (await bob.store.commit(create)).nodes.keys() == {file.id}

    with_store(test)


def test_a_grant_of_other_keys_counts_for_nothing(with_store: WithStore) -> None:
    """Who is not given the new keys of a node in the commit that changes them is a stranger from then on, and who is
    has them from the same moment."""

    async def test(store: SqlStore) -> None:
        s, bob, carol = await scene(store), await register(store), await register(store)
        for user in (bob, carol):
            await s.alice.share(s.shared.id, user.id, Right.WRITE)
        below = entry(s.shared.id, "new below", s.below.id, epoch=2)
        await s.alice.commit(
            PutNode(following(s.shared, rekeyed=True)),
            entry(s.alice.home, "shared", s.shared.id, 2),
            entry(s.shared.id, "below", None, 2, epoch=2),
            below,
            s.alice.grant(s.shared.id, carol.id, Right.WRITE, epoch=2),
        )
        assert await bob.store.received() == []
        await sees_nothing(bob, s)
        assert [grant.epoch for grant, _ in await carol.store.received()] == [2]
        assert (await carol.store.list(s.shared.id)).entries[0][0] == below.entry

    with_store(test)


def test_every_name_of_a_file_counts(with_store: WithStore) -> None:
    """A file with a second name in a shared folder can be read; no more when that name has gone."""

    async def test(store: SqlStore) -> None:
        s, bob = await scene(store), await register(store)
        await s.alice.share(s.shared.id, bob.id, Right.READ)
        assert await bob.store.nodes([s.private.id]) == {}
        await s.alice.commit(entry(s.below.id, "second", s.private.id))
        assert set(await bob.store.nodes([s.private.id])) == {s.private.id}
        await s.alice.remove(s.below.id, "second")
        assert await bob.store.nodes([s.private.id]) == {}

    with_store(test)


def test_the_best_grant_counts(with_store: WithStore) -> None:
    """Reading above and writing below: writing below only; a grant is replaced by the next one on the same node."""

    async def test(store: SqlStore) -> None:
        s, bob = await scene(store), await register(store)
        await s.alice.share(s.shared.id, bob.id, Right.READ)
        await s.alice.share(s.below.id, bob.id, Right.WRITE)
        await bob.create(s.below.id, "made")
        new = new_node()
        await refused(Denied, bob.commit(PutNode(new), entry(s.shared.id, "new", new.id)))
        await s.alice.share(s.below.id, bob.id, Right.READ)
        await refused(Denied, bob.commit(PutNode(new), entry(s.below.id, "new", new.id)))
        assert [grant.right for grant in await s.alice.store.grants(s.below.id)] == [Right.READ]

    with_store(test)


def test_grants_are_by_the_owner_for_another_user(with_store: WithStore) -> None:
    """Others' names, oneself, unknown users and nodes, and old keys are refused; a grant goes with its node."""

    async def test(store: SqlStore) -> None:
        alice, bob = await register(store), await register(store)
        node = await alice.create(alice.home, "file")
        await refused(Malformed, alice.commit(bob.grant(node.id, bob.id, Right.READ)))
        await refused(Malformed, alice.commit(alice.grant(node.id, alice.id, Right.READ)))
        await refused(Missing, alice.commit(alice.grant(node.id, os.urandom(32), Right.READ)))
        await refused(Missing, alice.commit(alice.grant(NodeId(os.urandom(16)), bob.id, Right.READ)))
        await alice.commit(PutNode(following(node, rekeyed=True)), entry(alice.home, "file", node.id, 2))
        await refused(EpochChanged, alice.commit(alice.grant(node.id, bob.id, Right.READ)))
        granted = alice.grant(node.id, bob.id, Right.READ, epoch=2)
        await alice.commit(granted)
        assert isinstance(granted, PutGrant)
        assert list(await alice.store.grants(node.id)) == [granted.grant]
        await alice.remove(alice.home, "file")
        assert await bob.store.received() == []

    with_store(test)


def test_a_tree_is_shared_as_it_is_made(with_store: WithStore) -> None:
    """A folder and its grant in one commit."""

    async def test(store: SqlStore) -> None:
        alice, bob = await register(store), await register(store)
        folder = new_node(Kind.FOLDER)
        await alice.commit(
            alice.grant(folder.id, bob.id, Right.READ), PutNode(folder), entry(alice.home, "f", folder.id)
        )
        assert (await bob.store.list(folder.id)).folder.node == folder

    with_store(test)
