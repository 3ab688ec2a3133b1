"""Random commits, good and bad, do to the store what they do to a simple model of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.drive.errors import DriveError, Missing, WrongKind
from broker.drive.metadata.checks import check
from broker.drive.metadata.protocol import Change, Commit, PutEntry, PutNode
from broker.drive.metadata.store import SqlStore, open_store
from broker.drive.records import Entry, Kind, NodeId, Token
from tests.broker.drive.metadata.helpers import (
    Blobs,
    Client,
    entry,
    following,
    new_node,
    operation,
    register,
    token,
)
from tests.broker.drive.metadata.model import Model, Refused

NAMES = [token(name) for name in "abc"]

T = TypeVar("T")


@dataclass(frozen=True)
class Steps:
    """Changes that a client could want, from what the model knows."""

    draw: st.DrawFn
    model: Model
    gone: list[NodeId]

    def changes(self) -> list[Change]:
        """Those of one commit; one in eight is spoilt."""
        steps = [self.create, self.create, self.remove, self.move, self.link, self.exchange, self.update, self.rekey]
        found = [change for _ in range(self.draw(st.integers(1, 2))) for change in self.one_of(steps)()]
        if self.draw(st.integers(0, 7)) == 0:
            found = self.spoilt(found)
        return self.draw(st.permutations(found))

    def create(self) -> list[Change]:
        """A node, or a folder with a node in it."""
        node, below = new_node(self.one_of(list(Kind))), new_node(self.one_of(list(Kind)))
        made: list[Change] = [PutNode(node, (), b""), self.name(*self.place(), node.id)]
        if node.kind is Kind.FOLDER and self.draw(st.booleans()):
            made += [PutNode(below), entry(node.id, self.one_of(NAMES), below.id)]
        return made

    def remove(self) -> list[Change]:
        return [self.name(old.parent, old.token, None) for old in self.named()]

    def move(self) -> list[Change]:
        """To any place, taken or not."""
        return [
            change
            for old in self.named()
            for change in (self.name(old.parent, old.token, None), self.name(*self.place(), old.child))
        ]

    def link(self) -> list[Change]:
        return [self.name(*self.place(), old.child) for old in self.named()]

    def exchange(self) -> list[Change]:
        return [
            change
            for one, other in zip(self.named(), self.named(), strict=True)
            for change in (
                self.name(one.parent, one.token, other.child),
                self.name(other.parent, other.token, one.child),
            )
        ]

    def update(self) -> list[Change]:
        """Of attributes or content."""
        node, content = self.one_of(list(self.model.nodes.values())), self.one_of([None, b"", b"some"])
        inline = node.inline if content is None else bool(content)
        return [PutNode(following(node, inline=inline), None, content)]

    def rekey(self) -> list[Change]:
        """Together with all its names and all names in it."""
        node = following(self.one_of(list(self.model.nodes.values())), rekeyed=True)
        living = self.model.living()
        outside = [self.name(old.parent, old.token, node.id) for old in living if old.child == node.id]
        inside = [
            entry(node.id, old.token, old.child, old.version + 1, epoch=node.epoch)
            for old in living
            if old.parent == node.id
        ]
        return [PutNode(node), *outside, *inside]

    def spoilt(self, changes: list[Change]) -> list[Change]:
        """Without one of them, or with one that is wrong."""
        at = self.draw(st.integers(0, max(len(changes) - 1, 0)))
        match changes[at : at + 1]:
            case [PutEntry(bad)] if self.draw(st.booleans()):
                wrong = self.one_of(
                    [
                        replace(bad, version=bad.version + 1),
                        replace(bad, epoch=bad.epoch + 1),
                        replace(bad, parent=self.one_of([*self.model.nodes, *self.gone])),
                        replace(bad, child=self.one_of([self.model.root, *self.gone])),
                    ]
                )
                return [*changes[:at], PutEntry(wrong), *changes[at + 1 :]]
            case [PutNode(bad)] if self.draw(st.booleans()):
                wrong_node = self.one_of(
                    [
                        replace(bad, version=bad.version + 1),
                        replace(bad, epoch=bad.epoch + 2),
                        replace(bad, verify_key=bytes(32)),
                        replace(bad, inline=not bad.inline),
                        replace(bad, kind=Kind(1 - bad.kind)),
                    ]
                )
                return [*changes[:at], PutNode(wrong_node, None, None), *changes[at + 1 :]]
        return [*changes[:at], *changes[at + 1 :]]

    def name(self, parent: NodeId, name: Token, child: NodeId | None) -> PutEntry:
        """At the next version and under the present keys."""
        old, folder = self.model.entries.get((parent, name)), self.model.nodes[parent]
        return entry(parent, name, child, (old.version if old else 0) + 1, epoch=folder.epoch)

    def named(self) -> list[Entry]:
        """One living entry, if there is any."""
        living = self.model.living()
        return [self.one_of(living)] if living else []

    def place(self) -> tuple[NodeId, Token]:
        folders = [id for id, node in self.model.nodes.items() if node.kind is Kind.FOLDER]
        return self.one_of(folders), self.one_of(NAMES)

    def one_of(self, choices: Sequence[T]) -> T:
        return self.draw(st.sampled_from(choices))


async def same(client: Client, model: Model) -> None:
    """All that can be asked of the store is as in the model."""
    stored = await client.store.nodes(list(model.nodes))
    assert {id: found.node for id, found in stored.items()} == model.nodes
    assert {id: found.links for id, found in stored.items()} == {id: model.links(id) for id in model.nodes}
    assert {id: found.changes for id, found in stored.items()} == {id: model.changes.get(id, 0) for id in model.nodes}
    below = (await client.store.descendants(client.home)).entries
    assert [found for found, _ in below] == sorted(model.living(), key=lambda e: (e.parent, e.token))
    names: list[tuple[NodeId, Token]] = [
        (id, name) for id, node in model.nodes.items() if node.kind is Kind.FOLDER for name in NAMES
    ]
    looked = await client.store.lookup(names)
    assert [found[0] if found else None for found in looked] == [model.entries.get(name) for name in names]
    contents = await client.store.inline(list(model.nodes))
    assert {id: content for id, (_, content) in contents.items()} == {
        id: content for id, content in model.contents.items() if content
    }
    assert (await client.store.usage()).nodes == len(model.nodes)
    usage = sum(len(node.body) + len(model.contents.get(id, b"")) for id, node in model.nodes.items())
    assert (await client.store.usage()).bytes == usage


async def play(store: SqlStore, data: st.DataObject, steps: int) -> None:
    """A user's tree, changed at random; each operation is done once or twice, which is the same."""
    client = await register(store)
    model, gone = Model(client.home, {client.home: client.root}), [NodeId(bytes(16))]
    for _ in range(steps):
        commit = Commit(operation(), tuple(Steps(data.draw, model, gone).changes()), durable=False)
        try:
            after = model.committed(commit.changes)
        except Refused:
            with pytest.raises(DriveError):
                await client.store.commit(commit)
            continue
        answer = await client.store.commit(commit)
        assert {id: found.node for id, found in answer.nodes.items()}.items() <= after.nodes.items()
        touched = {change.node.id for change in commit.changes if isinstance(change, PutNode)} & after.nodes.keys()
        assert touched <= answer.nodes.keys()
        if data.draw(st.booleans()):
            assert await client.store.commit(commit) == answer
        gone += model.nodes.keys() - after.nodes.keys()
        model = after
        await same(client, model)
    for id in gone[1:]:
        with pytest.raises((Missing, WrongKind)):
            await client.store.list(id)


def _sizes(kind: str) -> tuple[int, int]:
    return (40, 20) if kind != "postgresql" else (12, 15)


def test_commits_do_what_they_do_to_the_model(kind: str, new_url: str) -> None:
    """In any order and of any kind; afterwards the checks of the whole store find nothing."""
    examples, steps = _sizes(kind)
    with asyncio.Runner() as runner:
        store = runner.run(open_store(new_url, create=True, signed=None, at_once="at once" in kind))

        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def run(data: st.DataObject) -> None:
            runner.run(play(store, data, steps))

        try:
            run()
            assert runner.run(check(store.database, Blobs())) == []
        finally:
            runner.run(store.close())
