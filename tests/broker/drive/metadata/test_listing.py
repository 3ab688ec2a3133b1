"""What is read of a tree: pages of a folder, all that is below it, contents of several files at once."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from broker.drive.errors import Malformed, Missing, WrongKind
from broker.drive.metadata import reading, rows
from broker.drive.metadata.protocol import PutNode
from broker.drive.metadata.store import SqlStore
from broker.drive.records import Entry, NodeId, StoredNode, Token
from tests.broker.drive.metadata.helpers import WithStore, entry, new_node, refused, register, token


def test_pages_of_a_folder(with_store: WithStore) -> None:
    """Pages of any length show each living entry once, in order of the tokens; removed names are in none."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        made = {token(str(i)): (await alice.create(alice.home, str(i))).id for i in range(7)}
        await alice.remove(alice.home, "3")
        del made[token("3")]
        for limit in (1, 2, 3, 6, 7, 1000):
            seen: list[tuple[Token, NodeId]] = []
            after: Token | None = None
            while True:
                page = await alice.store.list(alice.home, after, limit)
                assert len(page.entries) <= limit
                seen += [(entry.token, stored.node.id) for entry, stored in page.entries]
                if (after := page.after) is None:
                    break
            assert seen == sorted(made.items())

    with_store(test)


def test_everything_below(with_store: WithStore) -> None:
    """All living entries below a folder, deep ones and both names of a file, once each and in order; nothing else,
    and no question after the last page."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        top, other = await alice.folder(alice.home, "top"), await alice.folder(alice.home, "other")
        await alice.create(other.id, "outside")
        expected = set()
        folder = top
        for depth in range(20):
            file = await alice.create(folder.id, "file")
            expected.add((folder.id, token("file"), file.id))
            below = await alice.folder(folder.id, f"below {depth}")
            expected.add((folder.id, token(f"below {depth}"), below.id))
            folder = below
        await alice.commit(entry(folder.id, "link", file.id))
        expected.add((folder.id, token("link"), file.id))
        await alice.create(folder.id, "gone")
        await alice.remove(folder.id, "gone")
        for limit in (1, 10, len(expected) - 1, len(expected), 1000):
            found = []
            asked, after = 0, None
            while True:
                page = await alice.store.descendants(top.id, after, limit)
                assert len(page.entries) <= limit
                found += [(entry.parent, entry.token, stored.node.id) for entry, stored in page.entries]
                asked += 1
                if (after := page.after) is None:
                    break
            assert found == sorted(expected)
            assert asked == -(-len(expected) // limit)

    with_store(test)


def test_long_bodies_end_a_page(with_store: WithStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """After PAGE_BYTES, with at least one entry; and what does not fit is not fetched, but for a few."""
    monkeypatch.setattr(reading, "PAGE_BYTES", 40_000)
    taken = 0
    real = rows.entry_and_node

    def counted(row: Sequence[object]) -> tuple[Entry, StoredNode]:
        nonlocal taken
        taken += 1
        return real(row)

    monkeypatch.setattr(rows, "entry_and_node", counted)

    async def test(store: SqlStore) -> None:
        nonlocal taken
        alice = await register(store)
        taken = 0
        for number in range(9):
            node = new_node(body=50_000 if number == 0 else 15_000)
            await alice.commit(PutNode(node), entry(alice.home, str(number), node.id))
        lengths, found, after = [], set[NodeId](), None
        while not lengths or after:
            page = await alice.store.list(alice.home, after)
            lengths.append(len(page.entries))
            found |= {stored.node.id for _, stored in page.entries}
            after = page.after
        assert len(found) == sum(lengths) == 9
        assert all(1 <= length <= 2 for length in lengths)
        assert taken == 9 + len(lengths) - 1
        below = await alice.store.descendants(alice.home)
        assert len(below.entries) == lengths[0] and below.after

    with_store(test)


def test_contents_of_several_files(with_store: WithStore) -> None:
    """Inline contents come with the versions they belong to; of files without there is nothing, and no error."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        some = [new_node(inline=True) for _ in range(100)]
        for number, node in enumerate(some):
            await alice.commit(PutNode(node, (), b"%d" % number), entry(alice.home, str(number), node.id))
        empty = await alice.create(alice.home, "empty")
        found = await alice.store.inline([*(node.id for node in some), empty.id, NodeId(os.urandom(16))])
        assert found == {node.id: (1, b"%d" % number) for number, node in enumerate(some)}

    with_store(test)


def test_what_is_no_folder_has_no_list(with_store: WithStore) -> None:
    """A file is WrongKind, an unknown id Missing, and a page of no entries or of too many is Malformed."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        file = await alice.create(alice.home, "file")
        for ask in (alice.store.list, alice.store.descendants):
            await refused(WrongKind, ask(file.id))
            await refused(Missing, ask(NodeId(os.urandom(16))))
            await refused(Malformed, ask(alice.home, None, 0))
            await refused(Malformed, ask(alice.home, None, 1_000_000))
            await refused(Malformed, ask(NodeId(b"short")))
        await refused(Missing, alice.store.lookup([(alice.home, token("file")), (NodeId(bytes(16)), token("file"))]))

    with_store(test)
