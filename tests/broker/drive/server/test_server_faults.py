"""Whatever fails between client, server, database and store: nothing confirmed is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from broker.drive.errors import StoreFull
from broker.drive.format.identity import new_identity
from broker.drive.http.accounts import register
from broker.drive.http.connection import Connection, Options
from broker.drive.http.retrying import Patience
from tests.broker.drive.metadata.postgresql import Server as PostgreSQL
from tests.broker.drive.seaweed import Seaweed
from tests.broker.drive.server.asking import bare, token_of
from tests.broker.drive.server.cutting import Loss, network
from tests.broker.drive.server.people import Person, chunk_of, known, operation, person, root_of
from tests.broker.drive.server.serving import ServerProcess, served

CRASHES = int(os.environ.get("SECCOMP_DRIVE_SERVER_CRASHES", "50"))

STUBBORN = Options(patience=Patience(total=90.0, first=0.02, most=0.5))


class Writer:
    """Saves files one after the other, until told to stop, and knows which content was confirmed last."""

    def __init__(self, who: Person) -> None:
        self.who = who
        self.confirmed: dict[bytes, list[bytes]] = {}
        self.saves = 0
        self._stop = False

    async def run(self) -> None:
        chosen = random.Random(self.who.identity.name)
        while not self._stop:
            name = b"file %d" % chosen.randrange(5)
            contents = [chosen.randbytes(chosen.choice((1, 5000, 200_000))) for _ in range(chosen.randrange(4))]
            await self.who.save(name, contents)
            self.confirmed[name] = contents
            self.saves += 1

    def stop(self) -> None:
        self._stop = True

    async def check(self) -> None:
        """Each file has what was confirmed, at the version that so many saves make, and there is no other."""
        for name, contents in self.confirmed.items():
            assert await self.who.load(name) == contents
        listed = (await self.who.metadata.list(self.who.home)).entries
        versions = {file.id: file.version for file in self.who.files.values()}
        assert {stored.node.id: stored.node.version for _, stored in listed} == versions
        assert sum(versions.values()) == self.saves


async def while_writing(url: str, disturb: Callable[[list[Writer]], Awaitable[None]], users: int = 2) -> None:
    """Users save files while something is done to the server; then all is as it was confirmed."""
    writers = [Writer(await person(url, options=STUBBORN)) for _ in range(users)]
    running = asyncio.gather(*(writer.run() for writer in writers))
    disturbing = asyncio.ensure_future(disturb(writers))
    await asyncio.wait([running, disturbing], return_when=asyncio.FIRST_COMPLETED)
    await disturbing
    for writer in writers:
        writer.stop()
    await running
    for writer in writers:
        assert writer.saves > 0
        await writer.check()
        await writer.who.close()


async def progress(writers: list[Writer], saves: int = 3) -> None:
    """Until so much more has been saved."""
    wanted = sum(writer.saves for writer in writers) + saves
    await until(lambda: sum(writer.saves for writer in writers) >= wanted)


async def until(so: Callable[[], bool]) -> None:
    for _ in count():
        if so():
            return
        await asyncio.sleep(0.01)


@pytest.fixture
def server(tmp_path: Path, postgresql: PostgreSQL, seaweed: Seaweed) -> Iterator[ServerProcess]:
    """On PostgreSQL and S3, in a place of its own: each database has its own blobs."""
    blobs = f"{seaweed.url}/{tmp_path.name}"
    running = ServerProcess(str(tmp_path), postgresql.new_database(), blobs, env=seaweed.environment)
    running.start()
    yield running
    running.stop()


@pytest.mark.timeout(120 + 20 * CRASHES)
def test_a_server_that_is_killed_loses_nothing(server: ServerProcess) -> None:
    """With -9, at random moments of uploads, again and again; clients wait for it to come back."""

    async def crash(writers: list[Writer]) -> None:
        for _ in range(CRASHES):
            await progress(writers)
            await asyncio.sleep(random.uniform(0, 0.05))
            server.kill()
            await asyncio.to_thread(server.start)

    asyncio.run(while_writing(server.url, crash))


def test_a_server_that_is_stopped_answers_what_it_has_begun(server: ServerProcess) -> None:
    """An upload that is half sent when the signal comes is taken to its end and confirmed; then the status is 0."""

    async def run() -> None:
        alice = await person(server.url, options=STUBBORN)
        chunk, content = chunk_of(0, bytes(100_000)), bytes(100_000)
        await alice.metadata.reserve(operation(), [chunk])
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"PUT /blobs/{chunk.blob} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {await token_of(alice)}\r\n"
        writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content[:50_000])
        await writer.drain()
        async with bare(server.url) as client:
            while "requests_under_way 2.0" not in (await client.get("/metrics")).text:
                continue
        server.signal(signal.SIGTERM)
        await until(lambda: "Shutting down" in server.log)
        writer.write(content[50_000:])
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        assert await asyncio.to_thread(server.wait) == 0
        await asyncio.to_thread(server.start)
        await alice.refer(b"file", [chunk])
        assert await alice.load(b"file") == [content]
        await alice.close()

    asyncio.run(run())


def test_a_database_that_is_restarted(postgresql: PostgreSQL, blobs_url: str) -> None:
    async def restart(writers: list[Writer]) -> None:
        for _ in range(2):
            await progress(writers)
            await asyncio.to_thread(postgresql.stop)
            await asyncio.to_thread(postgresql.start)
        await progress(writers)

    async def run() -> None:
        async with served(postgresql.new_database(), blobs_url) as server:
            await while_writing(server.url, restart)

    asyncio.run(run())


def test_a_store_that_refuses_for_a_while(
    seaweed: Seaweed, metadata_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)

    async def restart(writers: list[Writer]) -> None:
        await progress(writers)
        await asyncio.to_thread(seaweed.stop)
        await asyncio.to_thread(seaweed.start)
        await progress(writers)

    async def run() -> None:
        async with served(metadata_url, seaweed.url) as server:
            await while_writing(server.url, restart)

    asyncio.run(run())


REQUESTS = ["POST /login/challenge", "POST /login ", "POST /reserve", "PUT /blobs/", "POST /commit", "POST /lookup"]
REQUESTS += ["POST /chunks", "GET /blobs/", "GET /server"]


@pytest.mark.parametrize("loss", Loss)
def test_every_request_can_be_lost(metadata_url: str, blobs_url: str, loss: Loss) -> None:
    """On its way, or its answer, or half of it: the client sends it again, and its effect is there once."""

    async def run() -> None:
        async with (
            served(metadata_url, blobs_url) as server,
            network(int(server.url.rpartition(":")[2])) as between,
        ):
            alice = (await person(server.url)).identity
            user = known(between.url, alice, STUBBORN)
            for request in REQUESTS:
                between.lose(request, loss)
            contents = [os.urandom(300_000), b"small"]
            await user.save(b"file", contents)
            assert await user.load(b"file") == contents
            assert between.lost == len(REQUESTS)
            await user.save(b"file", [b"next"])
            assert await user.load(b"file") == [b"next"]
            assert user.files[b"file"].version == 2
            await user.close()

    asyncio.run(run())


@pytest.mark.parametrize("loss", Loss)
def test_a_registration_can_be_lost(metadata_url: str, blobs_url: str, loss: Loss) -> None:
    """The invitation is used up once, by who sends it again."""

    async def run() -> None:
        async with (
            served(metadata_url, blobs_url, invitation=True) as server,
            network(int(server.url.rpartition(":")[2])) as between,
        ):
            invitation = await server.metadata.accounts.invite()
            between.lose("POST /register", loss)
            alice = await person_through(between.url, server.url, invitation)
            assert between.lost == 1
            await alice.save(b"file", [b"content"])
            await alice.close()

    async def person_through(url: str, origin: str, invitation: str) -> Person:
        stranger = Connection(url, options=STUBBORN)
        identity = new_identity("alice", origin, (await stranger.server()).server_id)
        await register(stranger, identity.record.encode(), root_of(identity), invitation)
        await stranger.close()
        return known(url, identity, STUBBORN)

    asyncio.run(run())


def test_a_full_disk(tmp_path: Path) -> None:
    """Database and blobs on a file system of 4 MiB: at some point the client is told, and all before it is there."""
    mount = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    folder = tmp_path / "small"
    folder.mkdir()
    within = ["sh", "-c", f'mount -t tmpfs -o size=4m tmpfs {folder} && exec "$@"', "sh"]
    server = ServerProcess(str(tmp_path), f"sqlite:///{folder}/metadata", f"file://{folder}/blobs")
    server.prefix = [*mount, *within]
    server.start()

    async def run() -> None:
        alice = await person(server.url)
        confirmed: dict[bytes, list[bytes]] = {}
        with pytest.raises(StoreFull):
            for number in range(100):
                contents = [os.urandom(100_000)]
                await alice.save(b"file %d" % number, contents)
                confirmed[b"file %d" % number] = contents
        assert len(confirmed) > 5
        for name, contents in confirmed.items():
            assert await alice.load(name) == contents
        await alice.close()

    try:
        asyncio.run(run())
    finally:
        server.stop()
