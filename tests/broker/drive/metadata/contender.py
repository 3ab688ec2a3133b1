"""A client among many: several tasks that change the same few nodes, and say on stdout what was confirmed.

python -m tests.broker.drive.metadata.contender URL USER FOLDER GAME SEED
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from broker.drive.errors import Cycle, DriveError, EntryChanged, FolderNotEmpty, Missing, NodeChanged
from broker.drive.metadata.protocol import Commit, PutEntry, PutNode
from broker.drive.metadata.serving import UserStore
from broker.drive.metadata.store import open_store
from broker.drive.records import Kind, NodeId, UserId
from tests.broker.drive.metadata.helpers import entry, following, new_node, operation, token

TASKS = 4
ROUNDS = 8
NAMES = ("a", "b", "c", "d", "e")

Confirm = Callable[[str], None]
Game = Callable[[UserStore, NodeId, random.Random, Confirm], Awaitable[None]]


async def commit(store: UserStore, *changes: PutNode | PutEntry) -> None:
    await store.commit(Commit(operation(), changes, durable=False))


async def counting(store: UserStore, folder: NodeId, chance: random.Random, confirm: Confirm) -> None:
    """Add one to the number in a node, each time until nobody was faster."""
    ((found),) = await store.lookup([(folder, token("counter"))])
    assert found is not None and found[1] is not None
    id = found[1].node.id
    for _ in range(ROUNDS):
        while True:
            node = (await store.nodes([id]))[id].node
            number = int.from_bytes(node.body, "big") + 1
            try:
                await commit(store, PutNode(replace(following(node), body=number.to_bytes(8, "big"))))
            except NodeChanged:
                continue
            confirm("added")
            break


async def creating(store: UserStore, folder: NodeId, chance: random.Random, confirm: Confirm) -> None:
    """Create names that all the others create, too."""
    for number in range(ROUNDS):
        node = new_node()
        try:
            await commit(store, PutNode(node), entry(folder, f"file {number}", node.id))
        except EntryChanged:
            continue
        confirm(f"{number} {node.id.hex()}")


async def places(store: UserStore, folders: list[NodeId]) -> dict[tuple[NodeId, str], tuple[int, NodeId | None]]:
    """Version and node of every name in the folders; none if one of them has gone."""
    names = [(folder, name) for folder in folders for name in NAMES]
    try:
        looked = await store.lookup([(folder, token(name)) for folder, name in names])
    except Missing:
        return {}
    return {
        name: (answer[0].version, answer[0].child) if answer else (0, None)
        for name, answer in zip(names, looked, strict=True)
    }


async def shuffling(store: UserStore, folder: NodeId, chance: random.Random, confirm: Confirm) -> None:
    """Move folders into each other and back; none is made and none goes."""
    folders = [folder, *[stored.node.id for _, stored in (await store.descendants(folder)).entries]]
    for _ in range(ROUNDS * 2):
        at = await places(store, folders)
        old = chance.choice([place for place, (_, child) in at.items() if child])
        new = chance.choice([place for place, (_, child) in at.items() if not child])
        (version, child), (other, _) = at[old], at[new]
        try:
            await commit(store, entry(*old, None, version + 1), entry(*new, child, other + 1))
        except (EntryChanged, Cycle):
            continue
        confirm("moved")


async def tearing(store: UserStore, folder: NodeId, chance: random.Random, confirm: Confirm) -> None:
    """Make folders, put files into them, move these about, and remove both: all at the same names."""
    for _ in range(ROUNDS * 2):
        folders = [
            folder,
            *[s.node.id for _, s in (await store.descendants(folder)).entries if s.node.kind is Kind.FOLDER],
        ]
        at = await places(store, folders)
        if not at:
            continue
        place, (version, child) = chance.choice(list(at.items()))
        try:
            if child is None:
                node = new_node(chance.choice([Kind.FOLDER, Kind.OTHER]))
                await commit(store, PutNode(node), entry(*place, node.id, version + 1))
            elif chance.random() < 0.5:
                await commit(store, entry(*place, None, version + 1))
            else:
                target, (other, _) = chance.choice([item for item in at.items() if item[0] != place])
                await commit(store, entry(*place, None, version + 1), entry(*target, child, other + 1))
        except (EntryChanged, FolderNotEmpty, Cycle, Missing):
            continue
        confirm("done")


GAMES: dict[str, Game] = {game.__name__: game for game in (counting, creating, shuffling, tearing)}


async def main(url: str, user: UserId, folder: NodeId, game: Game, seed: int) -> None:
    confirmed: list[str] = []
    store = await open_store(url, signed=None, at_once=True)
    try:
        await asyncio.gather(
            *(
                game(store.for_user(user), folder, random.Random(seed * TASKS + task), confirmed.append)
                for task in range(TASKS)
            )
        )
    except DriveError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    finally:
        await store.close()
    json.dump(confirmed, sys.stdout)


if __name__ == "__main__":
    url, user, folder, game, seed = sys.argv[1:]
    asyncio.run(main(url, UserId(bytes.fromhex(user)), NodeId(bytes.fromhex(folder)), GAMES[game], int(seed)))
