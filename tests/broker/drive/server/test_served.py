"""A drive through server and client: what was stored is found again, by its owner and by nobody else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from broker.drive.blobs.objects import LinkingObjectBlobs
from broker.drive.blobs.opening import open_blobs
from broker.drive.errors import Denied, Missing, NameTaken
from broker.drive.format.keys import name_token
from broker.drive.http.accounts import register
from broker.drive.http.exchange import Answer, Exchange
from broker.drive.metadata import reading
from broker.drive.metadata.accounts import Terms
from broker.drive.metadata.store import open_store
from broker.drive.records import BlobName, Token
from broker.drive.server import operations
from broker.drive.server.app import Serving
from tests.broker.drive.metadata.postgresql import Server as PostgreSQL
from tests.broker.drive.seaweed import Seaweed, free_ports
from tests.broker.drive.server.people import HASTY, Person, known, person, root_of
from tests.broker.drive.server.serving import ServerProcess, listening, served


def open_linking(url: str) -> LinkingObjectBlobs:
    blobs = open_blobs(url)
    assert isinstance(blobs, LinkingObjectBlobs)
    return blobs


async def use(alice: Person) -> None:
    """Files are written, replaced and listed."""
    contents = [os.urandom(size) for size in (1, 5000, 1 << 20)]
    await alice.save(b"notes", contents)
    await alice.save(b"empty", [])
    assert await alice.load(b"notes") == contents
    assert await alice.load(b"empty") == [] and await alice.load(b"nothing") is None
    await alice.save(b"notes", contents[:1])
    assert await alice.load(b"notes") == contents[:1]
    listed = await alice.metadata.list(alice.home)
    assert {stored.node.id for _, stored in listed.entries} == {file.id for file in alice.files.values()}
    assert len((await alice.metadata.descendants(alice.home)).entries) == 2
    assert (await alice.metadata.usage()).nodes == 3


def test_a_small_server(metadata_url: str, blobs_url: str) -> None:
    """SQLite and a folder."""

    async def run() -> None:
        async with served(metadata_url, blobs_url) as server:
            alice = await person(server.url)
            await use(alice)
            await alice.close()

    asyncio.run(run())


def test_short_pages(metadata_url: str, blobs_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a page would have too many bytes, the rest comes with the next one; after the last there is none. What is
    asked for by ids or names is asked for again until it is there."""
    monkeypatch.setattr(reading, "PAGE_BYTES", 1)
    monkeypatch.setattr(operations, "PAGE_BYTES", 1)
    monkeypatch.setattr(operations, "_PART", 2)

    async def run() -> None:
        async with served(metadata_url, blobs_url) as server:
            alice = await person(server.url)
            for name in (b"one", b"two", b"three"):
                await alice.save(name, [])
            found, names, pages, after = set(), [], 0, None
            while pages == 0 or after:
                below = await alice.metadata.descendants(alice.home, after)
                found |= {stored.node.id for _, stored in below.entries}
                names += [(entry.parent, entry.token) for entry, _ in below.entries]
                pages, after = pages + 1, below.after
            assert found == {file.id for file in alice.files.values()}
            assert pages == 3
            assert {*await alice.metadata.nodes([*found])} == found
            looked_up = await alice.metadata.lookup([*names, (alice.home, Token(bytes(32)))])
            assert [named and (named[0].parent, named[0].token) for named in looked_up] == [*names, None]
            await alice.close()

    asyncio.run(run())


def test_two_servers_on_one_database_and_one_store(
    postgresql: PostgreSQL, seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL and S3, downloads by links: what one server has taken, the other gives; a token is good at both."""
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    database = postgresql.new_database()

    async def run() -> None:
        async with served(database, seaweed.url, links=True) as one:
            other = Serving(one.url, links=open_linking(seaweed.url))
            (port,) = free_ports(1)
            store = await open_store(database, terms=Terms(one.url))
            async with listening(store, open_blobs(seaweed.url), other, port):
                alice = await person(one.url)
                await use(alice)
                elsewhere = known(f"http://127.0.0.1:{port}", alice.identity)
                assert await elsewhere.load(b"notes") == await alice.load(b"notes")
                elsewhere.files = alice.files
                await elsewhere.save(b"notes", [b"from the other server"])
                assert await alice.load(b"notes") == [b"from the other server"]
                await elsewhere.close()
                await alice.close()

    asyncio.run(run())


def test_links_are_fetched_without_the_token(
    seaweed: Seaweed, metadata_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And content does not pass through the server: it serves no blob itself."""
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    seen: list[tuple[str, dict[str, str]]] = []
    real = Exchange.__call__

    async def exchange(self: Exchange, method: str, url: str, headers: dict[str, str], *rest: Any) -> Answer:
        seen.append((f"{method} {url}", headers))
        return await real(self, method, url, headers, *rest)

    monkeypatch.setattr(Exchange, "__call__", exchange)

    async def run() -> None:
        async with served(metadata_url, seaweed.url, links=True) as server:
            alice = await person(server.url)
            contents = [os.urandom(10_000) for _ in range(20)]
            await alice.save(b"file", contents)
            seen.clear()
            assert await alice.load(b"file") == contents
            to_store = [headers for what, headers in seen if what.startswith(f"GET http://127.0.0.1:{seaweed.port}/")]
            assert len(to_store) == 20 and not any("authorization" in headers for headers in to_store)
            assert not any(what.startswith(f"GET {server.url}/blobs") for what, _ in seen)
            assert sum(what == f"POST {server.url}/blobs/links" for what, _ in seen) <= 2
            await alice.close()

    asyncio.run(run())


def test_a_store_that_cannot_be_reached_by_links_is_read_through_the_server(
    seaweed: Seaweed, metadata_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)

    class Elsewhere(LinkingObjectBlobs):
        async def links(self, names: Sequence[BlobName], seconds: int) -> Sequence[str]:
            return [f"http://127.0.0.1:9/{name}" for name in names]

    blobs = open_linking(seaweed.url)
    blobs.__class__ = Elsewhere

    async def run() -> None:
        async with served(metadata_url, blobs, links=True) as server:
            alice = await person(server.url)
            await use(alice)
            await alice.close()

    asyncio.run(run())


def test_a_name_is_taken_once(metadata_url: str, blobs_url: str) -> None:
    """By one identity; the same registration again, by a retry, is no error."""

    async def run() -> None:
        async with served(metadata_url, blobs_url) as server:
            alice = await person(server.url, "alice")
            again = await register(alice.connection, alice.identity.record.encode(), root_of(alice.identity))
            assert again.id == alice.identity.user_id
            with pytest.raises(NameTaken):
                await person(server.url, "alice")
            await alice.close()

    asyncio.run(run())


def test_an_invitation_lets_in_one_user(metadata_url: str, blobs_url: str) -> None:
    async def run() -> None:
        async with served(metadata_url, blobs_url, invitation=True) as server:
            invitation = await server.metadata.accounts.invite()
            for wrong in ("", "guessed"):
                with pytest.raises(Denied, match="invitation"):
                    await person(server.url, invitation=wrong)
            await use(await person(server.url, invitation=invitation))
            with pytest.raises(Denied, match="invitation"):
                await person(server.url, invitation=invitation)

    asyncio.run(run())


def test_users_do_not_see_each_other(metadata_url: str, blobs_url: str) -> None:
    """Whatever of another's is asked for by its right id is as missing as what does not exist."""

    async def run() -> None:
        async with served(metadata_url, blobs_url) as server:
            alice, mallory = await person(server.url), await person(server.url, options=HASTY)
            node = await alice.save(b"secret", [b"content"])
            (chunk,) = await alice.metadata.chunks(node.id, 1)
            assert await mallory.metadata.nodes([node.id, alice.home]) == {}
            assert await mallory.metadata.inline([node.id]) == {}
            for refused in (
                mallory.metadata.list(alice.home),
                mallory.metadata.descendants(alice.home),
                mallory.metadata.chunks(node.id, 1),
                mallory.metadata.lookup([(alice.home, name_token(alice.identity.home_keys(1), b"secret"))]),
                mallory.metadata.grants(alice.home),
                mallory.blobs.get(chunk.blob),
            ):
                with pytest.raises(Missing):
                    await refused
            await alice.close()
            await mallory.close()

    asyncio.run(run())


def test_a_server_serves_until_it_is_told_to_stop(tmp_path: Path, metadata_url: str, blobs_url: str) -> None:
    """`seccomp-drive serve`, started, asked, and stopped with status 0."""
    server = ServerProcess(str(tmp_path), metadata_url, blobs_url)
    server.start()

    async def run() -> None:
        alice = await person(server.url)
        await use(alice)
        await alice.close()

    try:
        asyncio.run(run())
    finally:
        assert server.stop() == 0
    assert "Traceback" not in server.log
