"""What a commit changes, and what it answers."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace

from broker.drive.errors import (
    Cycle,
    EntryChanged,
    EpochChanged,
    FolderNotEmpty,
    Malformed,
    Missing,
    NodeChanged,
    WrongKind,
)
from broker.drive.metadata.protocol import Commit, PutNode
from broker.drive.metadata.store import SqlStore
from broker.drive.records import Kind, NodeId
from tests.broker.drive.metadata.helpers import (
    WithStore,
    entry,
    following,
    new_node,
    operation,
    refused,
    register,
    token,
)


def test_create_and_look_up(with_store: WithStore) -> None:
    """A new file is found by its name, in the listing and by its id, as it was sent; its folder has changed once."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        before = (await alice.store.nodes([alice.home]))[alice.home]
        node = new_node()
        put = entry(alice.home, "file", node.id)
        committed = await alice.commit(PutNode(node), put, durable=True)
        stored = committed.nodes[node.id]
        assert (stored.node, stored.home, stored.links, stored.changes) == (node, alice.home, 1, 0)
        folder = committed.nodes[alice.home]
        assert folder.changes == before.changes + 1
        assert folder.changed_ns >= before.changed_ns
        assert set(committed.nodes) == {node.id, alice.home}
        assert await alice.store.lookup([(alice.home, token("file")), (alice.home, token("none"))]) == [
            (put.entry, stored),
            None,
        ]
        listed = await alice.store.list(alice.home)
        assert (listed.folder, listed.entries, listed.after) == (folder, [(put.entry, stored)], None)
        assert await alice.store.nodes([node.id, NodeId(os.urandom(16))]) == {node.id: stored}

    with_store(test)


def test_a_node_changes_from_the_version_it_is_at(with_store: WithStore) -> None:
    """The next version replaces the node; the same again, one too many and a first one are NodeChanged."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        node = await alice.create(alice.home, "file")
        second = following(node)
        committed = await alice.commit(PutNode(second))
        assert committed.nodes[node.id].node == second
        await refused(NodeChanged, alice.commit(PutNode(following(node))))
        await refused(NodeChanged, alice.commit(PutNode(following(following(second)))))
        await refused(NodeChanged, alice.commit(PutNode(node), entry(alice.home, "other", node.id)))
        assert (await alice.store.nodes([node.id]))[node.id].node == second

    with_store(test)


def test_an_entry_keeps_counting_after_removal(with_store: WithStore) -> None:
    """A removed name cannot come back as an older version of itself; its node has gone."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        node = await alice.create(alice.home, "file")
        await alice.commit(entry(alice.home, "file", None, 2))
        assert await alice.store.nodes([node.id]) == {}
        ((found),) = await alice.store.lookup([(alice.home, token("file"))])
        assert found is not None and (found[0].version, found[0].child, found[1]) == (2, None, None)
        assert (await alice.store.list(alice.home)).entries == []
        again = new_node()
        await refused(EntryChanged, alice.commit(PutNode(again), entry(alice.home, "file", again.id)))
        await refused(EntryChanged, alice.commit(PutNode(again), entry(alice.home, "file", again.id, 2)))
        await alice.commit(PutNode(again), entry(alice.home, "file", again.id, 3))
        assert await alice.names(alice.home) == {token("file"): again.id}

    with_store(test)


def test_a_node_lives_while_an_entry_leads_to_it(with_store: WithStore) -> None:
    """A hard link keeps a file when its first name goes; with the last it is gone, inline content and all."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        folder = await alice.folder(alice.home, "folder")
        node = new_node(inline=True)
        await alice.commit(PutNode(node, (), b"content"), entry(alice.home, "first", node.id))
        committed = await alice.commit(entry(folder.id, "second", node.id))
        assert committed.nodes[node.id].links == 2
        committed = await alice.commit(entry(alice.home, "first", None, 2))
        assert committed.nodes[node.id].links == 1
        assert await alice.store.inline([node.id]) == {node.id: (1, b"content")}
        committed = await alice.commit(entry(folder.id, "second", None, 2))
        assert set(committed.nodes) == {folder.id}
        assert await alice.store.inline([node.id]) == {}
        usage = await alice.store.usage()
        assert usage.nodes == 2

    with_store(test)


def test_a_node_needs_a_name(with_store: WithStore) -> None:
    """A node that no entry of its commit leads to is refused, also when the only entries are in another such one."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        node, folder = new_node(), new_node(Kind.FOLDER)
        await refused(Malformed, alice.commit(PutNode(node)))
        await refused(Malformed, alice.commit(PutNode(node), PutNode(folder), entry(folder.id, "file", node.id)))
        other = new_node(Kind.FOLDER)
        loop = entry(folder.id, "other", other.id), entry(other.id, "folder", folder.id)
        await refused(Malformed, alice.commit(PutNode(folder), PutNode(other), *loop))
        await refused(Missing, alice.commit(entry(alice.home, "none", NodeId(os.urandom(16)))))
        await refused(Missing, alice.commit(PutNode(following(node)), entry(alice.home, "none", node.id)))

    with_store(test)


def test_a_tree_in_one_commit(with_store: WithStore) -> None:
    """Folders with files in them are made together, in any order, and taken away together."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        outer, inner, file = new_node(Kind.FOLDER), new_node(Kind.FOLDER), new_node()
        await alice.commit(
            entry(inner.id, "file", file.id),
            entry(outer.id, "inner", inner.id),
            PutNode(file),
            PutNode(outer),
            entry(alice.home, "outer", outer.id),
            PutNode(inner),
        )
        assert {entry.child for entry, _ in (await alice.store.descendants(alice.home)).entries} == {
            outer.id,
            inner.id,
            file.id,
        }
        removals = entry(alice.home, "outer", None, 2), entry(outer.id, "inner", None, 2)
        await refused(FolderNotEmpty, alice.commit(*removals))
        await alice.commit(*removals, entry(inner.id, "file", None, 2))
        assert (await alice.store.usage()).nodes == 1

    with_store(test)


def test_move_and_exchange(with_store: WithStore) -> None:
    """One commit moves a file over another, which goes; or exchanges a folder that is not empty with a file."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        one, other = await alice.create(alice.home, "one"), await alice.create(alice.home, "other")
        await alice.commit(entry(alice.home, "one", None, 2), entry(alice.home, "other", one.id, 2))
        assert await alice.names(alice.home) == {token("other"): one.id}
        assert await alice.store.nodes([other.id]) == {}
        folder = await alice.folder(alice.home, "folder")
        await alice.create(folder.id, "below")
        await alice.commit(entry(alice.home, "folder", one.id, 2), entry(alice.home, "other", folder.id, 3))
        assert await alice.names(alice.home) == {token("folder"): one.id, token("other"): folder.id}

    with_store(test)


def test_folders_go_only_when_they_are_empty(with_store: WithStore) -> None:
    """Neither a removal nor another node under its name takes a folder that has entries; tombstones are none."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        folder, file = await alice.folder(alice.home, "folder"), await alice.create(alice.home, "file")
        below = await alice.create(folder.id, "below")
        await refused(FolderNotEmpty, alice.commit(entry(alice.home, "folder", None, 2)))
        over = entry(alice.home, "file", None, 2), entry(alice.home, "folder", file.id, 2)
        await refused(FolderNotEmpty, alice.commit(*over))
        await alice.remove(folder.id, "below")
        await alice.commit(*over)
        assert await alice.names(alice.home) == {token("folder"): file.id}
        await refused(Missing, alice.commit(entry(folder.id, "below", file.id, 3)))
        await refused(Missing, alice.commit(PutNode(below), entry(folder.id, "below", below.id, 3)))

    with_store(test)


def test_folders_are_a_tree(with_store: WithStore) -> None:
    """A folder cannot be moved below itself, have two names, or be a root's child; two moves in one commit count."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        a, b = await alice.folder(alice.home, "a"), await alice.folder(alice.home, "b")
        below = await alice.folder(a.id, "below")
        await refused(Cycle, alice.commit(entry(alice.home, "a", None, 2), entry(below.id, "a", a.id)))
        await refused(Cycle, alice.commit(entry(alice.home, "a", None, 2), entry(a.id, "a", a.id)))
        await refused(Cycle, alice.commit(entry(alice.home, "again", a.id)))
        await refused(Cycle, alice.commit(entry(a.id, "home", alice.home)))
        both = entry(alice.home, "a", None, 2), entry(alice.home, "b", None, 2)
        await refused(Cycle, alice.commit(*both, entry(a.id, "b", b.id), entry(b.id, "a", a.id)))
        await alice.commit(entry(alice.home, "a", None, 2), entry(b.id, "a", a.id))
        assert await alice.names(b.id) == {token("a"): a.id}

    with_store(test)


def test_files_have_no_entries_and_kinds_stay(with_store: WithStore) -> None:
    """A name in a file is WrongKind; a file that becomes a folder is Malformed."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        file, new = await alice.create(alice.home, "file"), new_node()
        await refused(WrongKind, alice.commit(PutNode(new), entry(file.id, "below", new.id)))
        await refused(Malformed, alice.commit(PutNode(replace(following(file), kind=Kind.FOLDER))))

    with_store(test)


def test_entries_are_made_under_the_present_keys(with_store: WithStore) -> None:
    """A folder gets new keys together with its name and all names in it; then the old ones are refused."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        folder = await alice.folder(alice.home, "folder")
        file, other = await alice.create(folder.id, "file"), await alice.create(folder.id, "other")
        rekeyed = following(folder, rekeyed=True)
        await refused(EpochChanged, alice.commit(PutNode(replace(rekeyed, epoch=3))))
        await refused(Malformed, alice.commit(PutNode(replace(rekeyed, epoch=1))))
        names = [
            entry(alice.home, "folder", folder.id, 2),
            entry(folder.id, "file", None, 2),
            entry(folder.id, "new token", file.id, epoch=2),
            entry(folder.id, "other", None, 2),
            entry(folder.id, "other token", other.id, epoch=2),
        ]
        for left_out in (0, 3):
            await refused(EntryChanged, alice.commit(PutNode(rekeyed), *names[:left_out], *names[left_out + 1 :]))
        await alice.commit(PutNode(rekeyed), *names)
        new = new_node()
        await refused(EpochChanged, alice.commit(PutNode(new), entry(folder.id, "new", new.id)))
        await refused(EpochChanged, alice.commit(entry(folder.id, "other", other.id, 3)))
        assert await alice.names(folder.id) == {token("new token"): file.id, token("other token"): other.id}

    with_store(test)


def test_a_repetition_finds_its_own_success(with_store: WithStore) -> None:
    """The same operation again gives the first answer for the nodes it put, though others have changed them since."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        node = new_node()
        create = Commit(operation(), (PutNode(node), entry(alice.home, "file", node.id)))
        first = await alice.store.commit(create)
        assert await alice.store.commit(create) == first
        second = following(node)
        update = Commit(operation(), (PutNode(second),))
        answer = await alice.store.commit(update)
        await alice.commit(PutNode(following(second)))
        assert await alice.store.commit(update) == answer
        assert (await alice.store.commit(create)).nodes[node.id] == first.nodes[node.id]
        await alice.remove(alice.home, "file")
        assert (await alice.store.commit(update)).nodes == answer.nodes
        assert (await alice.store.usage()).nodes == 1

    with_store(test)


def test_one_user_cannot_take_anothers_answer(with_store: WithStore) -> None:
    """Operation ids are each user's own: the same one of somebody else is another operation."""

    async def test(store: SqlStore) -> None:
        alice, bob = await register(store), await register(store)
        node, other, same = new_node(), new_node(), operation()
        await alice.store.commit(Commit(same, (PutNode(node), entry(alice.home, "file", node.id))))
        await bob.store.commit(Commit(same, (PutNode(other), entry(bob.home, "file", other.id))))
        assert await bob.names(bob.home) == {token("file"): other.id}
        with pytest.raises(Malformed):
            again = new_node()
            await alice.store.commit(Commit(same, (PutNode(replace(node, version=2)), PutNode(again))))

    with_store(test)


def test_nothing_is_done_by_halves(with_store: WithStore) -> None:
    """A commit of which one change fails leaves no trace of the others."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        file = await alice.create(alice.home, "file")
        new = new_node()
        good = PutNode(new), entry(alice.home, "new", new.id), PutNode(following(file))
        before = await alice.store.list(alice.home), await alice.store.usage()
        await refused(EntryChanged, alice.commit(*good, entry(alice.home, "file", None, 7)))
        await refused(NodeChanged, alice.commit(*good, PutNode(replace(alice.root, version=9))))
        assert (await alice.store.list(alice.home), await alice.store.usage()) == before

    with_store(test)
