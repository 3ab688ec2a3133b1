"""Many clients at once, as processes with tasks: owners and guests who change the same nodes at the same time."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

from broker.drive.metadata.checks import check
from broker.drive.metadata.protocol import PutNode
from broker.drive.metadata.store import SqlStore
from broker.drive.records import Node, NodeId, Right, UserId
from tests.broker.drive.metadata.helpers import Blobs, Client, WithStore, entry, new_node, register, token

ROOT = Path(__file__).parents[4]
PROCESSES = 3


async def contend(url: str, users: list[UserId], folder: NodeId, game: str) -> list[str]:
    """What was confirmed to all of the contenders; the users take turns in being one of them."""
    programs = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.broker.drive.metadata.contender",
            *(url, users[number % len(users)].hex(), folder.hex(), game, str(number)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        for number in range(PROCESSES)
    ]
    answers = await asyncio.gather(*(program.communicate() for program in programs))
    assert [program.returncode for program in programs] == [0] * PROCESSES
    return [confirmed for out, _ in answers for confirmed in json.loads(out)]


async def host_and_guest(store: SqlStore) -> tuple[Client, Node, list[UserId]]:
    """A folder in which two users may write."""
    alice, bob = await register(store), await register(store)
    folder = await alice.folder(alice.home, "shared")
    await alice.share(folder.id, bob.id, Right.WRITE)
    return alice, folder, [alice.id, bob.id]


async def sound(store: SqlStore) -> None:
    """Nothing is wrong with any node."""
    found = await check(store.database, Blobs())
    assert list(found) == []


def test_no_update_is_lost(with_new_store: WithStore, new_url: str) -> None:
    """A number that all of them add one to is in the end the number of confirmed additions."""

    async def test(store: SqlStore) -> None:
        alice, folder, users = await host_and_guest(store)
        node = new_node(body=8)
        node = Node(node.id, node.kind, 1, 1, node.commitment, node.verify_key, bytes(8), node.signature)
        await alice.commit(PutNode(node), entry(folder.id, "counter", node.id))
        confirmed = await contend(new_url, users, folder.id, "counting")
        found = (await alice.store.nodes([node.id]))[node.id].node
        assert int.from_bytes(found.body, "big") == found.version - 1 == len(confirmed) > 0
        await sound(store)

    with_new_store(test)


def test_a_name_is_created_once(with_new_store: WithStore, new_url: str) -> None:
    """Of all who create the same name one succeeds, and its node is the one that is there."""

    async def test(store: SqlStore) -> None:
        alice, folder, users = await host_and_guest(store)
        confirmed = await contend(new_url, users, folder.id, "creating")
        winners = {token(f"file {number}"): id for number, id in (line.split() for line in confirmed)}
        assert len(winners) == len(confirmed) > 0
        assert {at: id.hex() for at, id in (await alice.names(folder.id)).items()} == winners
        assert (await alice.store.list(folder.id)).folder.changes == len(confirmed)
        await sound(store)

    with_new_store(test)


def test_folders_stay_a_tree(with_new_store: WithStore, new_url: str) -> None:
    """However folders are moved into each other, all of them are still found from the top, each once."""

    async def test(store: SqlStore) -> None:
        alice, folder, users = await host_and_guest(store)
        made = [(await alice.folder(folder.id, name)).id for name in ("a", "b", "c", "d")]
        assert await contend(new_url, users, folder.id, "shuffling")
        found = Counter(stored.node.id for _, stored in (await alice.store.descendants(folder.id)).entries)
        assert found == Counter(made)
        await sound(store)

    with_new_store(test)


def test_nothing_is_lost_in_removed_folders(with_new_store: WithStore, new_url: str) -> None:
    """Creating and moving into folders that others remove at the same time leaves no node without a name."""

    async def test(store: SqlStore) -> None:
        alice, folder, users = await host_and_guest(store)
        assert await contend(new_url, users, folder.id, "tearing")
        below = (await alice.store.descendants(folder.id)).entries
        assert (await alice.store.usage()).nodes == 2 + len(below)
        await sound(store)

    with_new_store(test)
