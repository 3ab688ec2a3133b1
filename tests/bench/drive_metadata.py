"""What the metadata store takes for the steps of a file's life, one client at a time.

python tests/bench/drive_metadata.py [sqlite:///FILE | postgresql://...]
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from broker.drive.metadata.protocol import PutNode
from broker.drive.metadata.store import open_store
from broker.drive.records import Node, NodeId
from tests.broker.drive.metadata.helpers import Client, entry, following, new_node, register, token

FILES = 4000
ROUNDS = 5


async def each(name: str, do: Callable[[int], Awaitable[object]], number: int = FILES) -> None:
    """One call of `number`: by the best hundred of them, and by half of the hundreds."""
    times = []
    for first in range(0, number, 100):
        start = time.perf_counter()
        for index in range(first, first + 100):
            await do(index)
        times.append((time.perf_counter() - start) / 100 * 1e3)
    print(f"{name:30} {min(times):8.3f} ms {statistics.median(times):8.3f} ms")


async def best(name: str, do: Callable[[], Awaitable[object]]) -> None:
    """The best of a few rounds, and the middle one."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        await do()
        times.append(time.perf_counter() - start)
    print(f"{name:30} {min(times) * 1e3:8.3f} ms {statistics.median(times) * 1e3:8.3f} ms")


async def measure(client: Client) -> None:
    store = client.store
    folder = await client.folder(client.home, os.urandom(8).hex())
    made: list[Node] = []

    async def create(index: int) -> None:
        made.append(await client.create(folder.id, f"file-{index}"))

    async def push(index: int) -> None:
        node = following(made[index], inline=True)
        await client.commit(PutNode(node, (), os.urandom(4096)))

    async def look(index: int) -> None:
        await store.lookup([(folder.id, token(f"file-{index}"))])

    async def rename(index: int) -> None:
        await client.commit(
            entry(folder.id, f"file-{index}", None, 2), entry(folder.id, f"new-{index}", made[index].id)
        )

    async def remove(index: int) -> None:
        await client.commit(entry(folder.id, f"new-{index}", None, 2))

    await each("create", create)
    await each("push 4 KiB", push)
    await each("lookup", look)
    await best(f"list {FILES}", lambda: store.list(folder.id, limit=FILES))
    await best(f"descendants {FILES}", lambda: store.descendants(folder.id, limit=FILES))
    await best("inline of 64", lambda: store.inline([node.id for node in made[:64]]))
    await each("create, durable", lambda index: durably(client, folder.id, index), 200)
    await each("rename", rename)
    await each("remove", remove)


async def durably(client: Client, folder: NodeId, index: int) -> None:
    node = new_node()
    await client.commit(PutNode(node), entry(folder, f"durable-{index}", node.id), durable=True)


async def main(url: str) -> None:
    store = await open_store(url, create=True, signed=None)
    try:
        await measure(await register(store))
    finally:
        await store.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"sqlite:///{directory}/metadata.sqlite"))
