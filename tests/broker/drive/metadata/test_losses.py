"""What is lost and what is not: replies, connections, servers, processes, room on the disk."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from msgspec.structs import replace
from sqlalchemy import Connection

from broker.drive.errors import StoreFull, Unreachable
from broker.drive.metadata.checks import check
from broker.drive.metadata.protocol import Commit, PutNode
from broker.drive.metadata.store import open_store
from broker.drive.records import NodeId
from tests.broker.drive.metadata.cutting import Cutting
from tests.broker.drive.metadata.helpers import (
    Blobs,
    Client,
    following,
    operation,
    refused,
    register,
    token,
)
from tests.broker.drive.metadata.postgresql import Server, running

ROOT = Path(__file__).parents[4]


def test_a_lost_reply_is_found_again(postgresql: Server) -> None:
    """A commit whose reply is lost has happened once: found out by the store itself, or by the client's next try."""

    async def main() -> None:
        url = postgresql.new_database()
        async with Cutting(postgresql.port).running() as proxy:
            through = url.replace(f":{postgresql.port}/", f":{proxy.port}/")
            store = await open_store(through, create=True, signed=None)
            try:
                alice = await register(store)
                node = await alice.create(alice.home, "file")
                proxy.cuts = 1
                second = following(node)
                assert (await alice.commit(PutNode(second))).nodes[node.id].node == second
                assert proxy.cuts == 0
                third = Commit(operation(), (PutNode(following(second)),))
                proxy.cuts = 2
                await refused(Unreachable, alice.store.commit(third))
                await asyncio.gather(*(alice.store.nodes([node.id]) for _ in range(3)))
                assert (await alice.store.commit(third)).nodes[node.id].node.version == 3
                assert (await alice.store.nodes([node.id]))[node.id].node.version == 3
            finally:
                await store.close()

    asyncio.run(main())


def test_a_server_that_restarts_is_found_again() -> None:
    """While it is away the store is Unreachable; afterwards the same store works, and nothing confirmed is lost."""

    async def main(server: Server) -> None:
        store = await open_store(server.new_database(), create=True, signed=None)
        try:
            alice = await register(store)
            node = await alice.create(alice.home, "file")
            await asyncio.gather(*(alice.store.nodes([node.id]) for _ in range(8)))
            await alice.commit(PutNode(following(node)), durable=True)
            server.stop()
            await refused(Unreachable, alice.store.nodes([node.id]))
            await refused(Unreachable, store.check())
            server.start()
            found = await asyncio.gather(*(alice.store.nodes([node.id]) for _ in range(8)))
            assert [nodes[node.id].node.version for nodes in found] == [2] * 8
            assert await check(store.database, Blobs()) == []
        finally:
            await store.close()

    with running() as server:
        asyncio.run(main(server))


def test_a_full_disk_stops_nothing_but_what_is_too_much(tmp_path: Path) -> None:
    """A commit that has no room is StoreFull and leaves nothing; reading goes on, and writing when there is room."""

    async def main() -> None:
        store = await open_store(f"sqlite:///{tmp_path}/metadata.sqlite", create=True, signed=None)
        try:
            alice = await register(store)
            node = await alice.create(alice.home, "file")
            large = replace(following(node), body=os.urandom(500_000))
            await store.database.write(_limit, 60)
            await refused(StoreFull, alice.commit(PutNode(large)))
            assert (await alice.store.nodes([node.id]))[node.id].node == node
            await store.database.write(_limit, 1_000_000)
            await alice.commit(PutNode(large))
            assert await check(store.database, Blobs()) == []
        finally:
            await store.close()

    asyncio.run(main())


def _limit(connection: Connection, pages: int) -> None:
    """SQLite says of it what it says of a full disk."""
    connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


_WRITER = """
import asyncio, sys
from broker.drive.metadata.store import open_store
from broker.drive.metadata.protocol import Commit, PutNode
from tests.broker.drive.metadata.helpers import entry, new_node, operation

async def main(url, user, folder):
    store = await open_store(url, signed=None, at_once=True)
    for number in range(10_000):
        node = new_node()
        changes = PutNode(node), entry(bytes.fromhex(folder), f"{sys.argv[4]} {number}", node.id)
        await store.for_user(bytes.fromhex(user)).commit(Commit(operation(), changes, durable=False))
        print(f"{sys.argv[4]} {number}", node.id.hex(), flush=True)

asyncio.run(main(*sys.argv[1:4]))
"""


async def killed(url: str, alice: Client, folder: NodeId, name: str, after: int) -> dict[str, str]:
    """What a client had confirmed when it was killed."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _WRITER,
        url,
        alice.id.hex(),
        folder.hex(),
        name,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert program.stdout is not None
    confirmed = [await program.stdout.readline() for _ in range(after)]
    program.kill()
    confirmed += (await program.stdout.read()).splitlines(keepends=True)
    await program.wait()
    lines = [line.decode().split() for line in confirmed if line.endswith(b"\n")]
    return {f"{name} {number}": id for name, number, id in lines}


def test_clients_that_are_killed_lose_nothing(url: str) -> None:
    """Two at a time, killed in the middle of their commits: all that was confirmed is there, and all is sound."""

    async def main() -> None:
        store = await open_store(url, create=True, signed=None)
        try:
            alice = await register(store)
            folder = await alice.folder(alice.home, "folder")
            for round in range(2):
                answers = await asyncio.gather(
                    *(killed(url, alice, folder.id, f"{round}-{number}", 3 + 7 * number) for number in range(2))
                )
                found = await alice.names(folder.id)
                for name, id in (item for answer in answers for item in answer.items()):
                    assert found[token(name)].hex() == id
            usage = await alice.store.usage()
            assert usage.nodes == 2 + len(found)
        finally:
            await store.close()

    asyncio.run(main())
