"""What no honest client sends is refused with a status of the 400s, changes nothing, and the server goes on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import httpx
import msgspec
import pytest

from broker.drive.blobs.protocol import BLOB_MAX
from broker.drive.errors import DriveError, Malformed, Missing
from broker.drive.format.entries import seal_entry, tombstone
from broker.drive.format.keys import name_token
from broker.drive.http import messages as m
from broker.drive.http import routes
from broker.drive.http.codec import BYTES, JSON, MSGPACK
from broker.drive.metadata.protocol import Commit, PutEntry, PutNode
from broker.drive.records import BlobName
from tests.broker.drive.server.asking import FOR_USERS, bare, code, post, some_message, token_of
from tests.broker.drive.server.people import HASTY, Person, chunk_of, operation, person
from tests.broker.drive.server.serving import served

Attack = Callable[[httpx.AsyncClient, Person, str], Awaitable[None]]


@pytest.fixture
def attack(metadata_url: str, blobs_url: str) -> Callable[[Attack], None]:
    """Run it against a server on which Alice has a file, which is as it was afterwards."""

    def run(test: Attack) -> None:
        async def main() -> None:
            async with served(metadata_url, blobs_url, silence=0.5) as server, bare(server.url) as client:
                alice = await person(server.url, options=HASTY)
                await alice.save(b"file", [b"content"])
                await test(client, alice, await token_of(alice))
                assert await alice.load(b"file") == [b"content"]
                await alice.close()

        asyncio.run(main())

    return run


def test_bodies_that_are_no_messages(attack: Callable[[Attack], None]) -> None:
    """Nothing, noise, other types, deep nesting and lengths that are lies, to every endpoint, in both encodings."""
    deep = b"\x91" * 100_000 + b"\xc0"
    packed = [
        b"",
        b"\xc1",
        b"\xc0",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa3ids\xdd\xff\xff\xff\xff",
        deep,
        b"\x81\xa1z" + deep,
    ]
    spelled = [
        b"",
        b"{",
        b"null",
        b"[" * 100_000,
        b'{"ids":' + b"[" * 100_000,
        b'{"z":1}',
        b"\xff\xfe",
        b'{"ids":["!"]}',
    ]

    async def test(client: httpx.AsyncClient, alice: Person, token: str) -> None:
        for route in routes.ROUTES:
            for media, bodies in ((MSGPACK, packed), (JSON, spelled)):
                for body in bodies:
                    answer = await post(client, route.path, body, token, media)
                    status = 400 if len(body) <= route.limit else 413
                    assert (answer.status_code, code(answer)) == (status, "malformed"), (route.path, body[:20])

    attack(test)


def test_fields_of_wrong_sizes(attack: Callable[[Attack], None]) -> None:
    """Ids, tokens, names, versions and limits that cannot be."""
    huge = 1 << 64 - 1
    requests: list[tuple[str, object]] = [
        ("/nodes", {"ids": [b"x" * 15]}),
        ("/nodes", {"ids": [os.urandom(16)] * (m.IDS_MAX + 1)}),
        ("/nodes", {"ids": ["text"]}),
        ("/nodes", {"ids": [], "more": 1}),
        ("/lookup", {"names": [[b"x" * 16, b"x" * 31]]}),
        ("/list", {"folder": b"x" * 16, "limit": 0}),
        ("/list", {"folder": b"x" * 16, "limit": m.PAGE_MAX + 1}),
        ("/list", {"folder": b"x" * 16, "limit": huge}),
        ("/list", {"folder": b"x" * 16, "after": b""}),
        ("/descendants", {"folder": b"x" * 16, "after": [b"x" * 16]}),
        ("/chunks", {"id": b"x" * 16, "version": -1}),
        ("/chunks", {"id": b"x" * 16, "version": huge}),
        ("/blobs/links", {"names": ["../../../../../../../etc/passwd"]}),
        ("/blobs/links", {"names": ["A" * 32]}),
        ("/reserve", {"operation": b"", "chunks": []}),
        ("/reserve", {"operation": b"x" * 16, "chunks": [{"id": b"x" * 32, "blob": "0" * 31, "size": 1}]}),
        ("/reserve", {"operation": b"x" * 16, "chunks": [{"id": b"x" * 32, "blob": "0" * 32, "size": -1}]}),
        ("/reserve", {"operation": b"x" * 16, "chunks": [{"id": b"x" * 32, "blob": "0" * 32, "size": huge}]}),
        ("/user", {}),
        ("/user", {"id": b"x" * 32, "name": "alice"}),
    ]

    async def test(client: httpx.AsyncClient, alice: Person, token: str) -> None:
        for path, message in requests:
            answer = await post(client, path, msgspec.msgpack.encode(message), token)
            assert (answer.status_code, code(answer)) == (400, "malformed"), (path, message)

    attack(test)


def test_bodies_that_are_too_long(attack: Callable[[Attack], None]) -> None:
    """Refused by their length, before they are read; one without a length, or of another type, is no better."""

    async def test(client: httpx.AsyncClient, alice: Person, token: str) -> None:
        def claims(length: str | None, media: str = MSGPACK) -> dict[str, str]:
            headers = {"authorization": f"Bearer {token}", "content-type": media}
            return headers if length is None else headers | {"content-length": length}

        async def refuses(path: str, status: int, headers: dict[str, str], body: bytes) -> None:
            answer = await raw(client, "POST", path, headers, body)
            assert answer.startswith(b"HTTP/1.1 %d" % status), (path, answer)

        chunked = claims(None) | {"transfer-encoding": "chunked"}
        for route in routes.ROUTES:
            await refuses(route.path, 413, claims(str(route.limit + 1)), b"x")
            await refuses(route.path, 411, chunked, b"0\r\n\r\n")
            await refuses(route.path, 400, claims("1", "text/html"), b"x")
        await asyncio.gather(*(refuses(route.path, 408, claims("10"), b"short") for route in routes.ROUTES))
        for length in ("-1", "1e3", "\u0663", "9" * 30):
            answer = await raw(client, "POST", "/usage", claims(length.encode().decode("latin1")), b"x")
            assert answer.startswith(b"HTTP/1.1 4"), (length, answer)
        chunk = chunk_of(0, bytes(10))
        await alice.metadata.reserve(operation(), [chunk])
        answer = await raw(client, "PUT", f"/blobs/{chunk.blob}", claims(str(BLOB_MAX + 1), BYTES), b"x")
        assert answer.startswith(b"HTTP/1.1 413")

    attack(test)


def test_paths_and_methods_that_there_are_none_of(attack: Callable[[Attack], None]) -> None:
    """A body with a code, whatever it was; nothing of a folder above can be named."""
    paths = [
        "/",
        "/x",
        "/nodes/",
        "/blobs",
        "/blobs/",
        "/blobs/x",
        "/blobs/../metadata.sqlite",
        "/blobs/%2e%2e/x",
        "/%00",
    ]
    paths += ["//nodes", "/NODES", "/blobs/" + "A" * 32, "/docs", "/openapi.json/x"]

    async def test(client: httpx.AsyncClient, alice: Person, token: str) -> None:
        headers = {"authorization": f"Bearer {token}"}
        for path in paths:
            answer = await client.request("GET", path, headers=headers)
            assert (answer.status_code, code(answer)) == (404, "missing"), path
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
            answer = await client.request(method, "/nodes", headers=headers)
            assert (answer.status_code, code(answer)) == (405, "malformed"), method
        assert (await client.delete("/blobs/" + "0" * 32, headers=headers)).status_code == 405

    attack(test)


def test_guessed_ids_give_nothing(attack: Callable[[Attack], None]) -> None:
    """A user with a good token who knows every id of Alice's: each endpoint answers as if there were nothing."""

    async def test(client: httpx.AsyncClient, alice: Person, _: str) -> None:
        mallory = await person(str(client.base_url).rstrip("/"), options=HASTY)
        token = await token_of(mallory)
        id = alice.files[b"file"].id
        (chunk,) = await alice.metadata.chunks(id, 1)
        asked: list[tuple[str, object, object]] = []
        for node in (id, alice.home):
            unknown = type(node)(os.urandom(16))
            for route in FOR_USERS:
                if route.path not in ("/user", "/logout", "/reserve", "/commit"):
                    real, none = (some_message(route, which, alice.identity.user_id) for which in (node, unknown))
                    asked.append((route.path, real, none))
        asked.append(("/blobs/links", m.Blobs([chunk.blob]), m.Blobs([BlobName("0" * 32)])))
        for path, real, none in asked:
            answers = [await post(client, path, message, token) for message in (real, none)]
            assert answers[0].status_code == answers[1].status_code, path
            assert answers[0].content == answers[1].content, path
        with pytest.raises(Missing):
            await mallory.blobs.get(chunk.blob)
        await mallory.close()

    attack(test)


def test_guessed_ids_cannot_be_linked_moved_or_changed(attack: Callable[[Attack], None]) -> None:
    """Into one's own folder, out of Alice's, over her names, or by a new version of her node: there is nothing."""

    async def test(client: httpx.AsyncClient, alice: Person, _: str) -> None:
        mallory = await person(str(client.base_url).rstrip("/"), options=HASTY)
        file, mine = alice.files[b"file"], mallory.identity.home_keys(1)
        hers = alice.identity.home_keys(1)
        node = (await alice.metadata.nodes([file.id]))[file.id].node
        token = name_token(hers, b"file")
        link = PutEntry(seal_entry(mallory.home, mine, 1, 1, b"stolen", file.id, file.keys))
        whole = PutEntry(seal_entry(mallory.home, mine, 1, 1, b"home", alice.home, hers))
        gone = PutEntry(tombstone(alice.home, hers, 2, 1, token))
        over = PutEntry(seal_entry(alice.home, hers, 2, 1, b"file", mallory.home, mine))
        for changes in ((link,), (link, gone), (gone,), (over,), (whole,), (PutNode(node),)):
            with pytest.raises(DriveError) as raised:
                await mallory.metadata.commit(Commit(operation(), changes))
            assert raised.value.code in ("missing", "malformed"), changes
        assert (await mallory.metadata.list(mallory.home)).entries == []
        await mallory.close()

    attack(test)


def test_blobs_that_were_not_announced(attack: Callable[[Attack], None]) -> None:
    """Nothing is stored under a name that nobody or somebody else has announced, of another size, or used before."""

    async def test(client: httpx.AsyncClient, alice: Person, _: str) -> None:
        mallory = await person(str(client.base_url).rstrip("/"), options=HASTY)
        chunk, used = chunk_of(0, b"announced"), (await alice.metadata.chunks(alice.files[b"file"].id, 1))[0]
        await alice.metadata.reserve(operation(), [chunk])
        for who, blob in (
            (alice, chunk_of(0, b"x").blob),
            (mallory, chunk.blob),
            (mallory, used.blob),
            (alice, used.blob),
        ):
            with pytest.raises(Missing):
                await who.blobs.put(blob, b"announced")
        for size in (0, 8, 10, 100_000):
            with pytest.raises(Malformed):
                await alice.blobs.put(chunk.blob, bytes(size))
        with pytest.raises(Missing):
            await alice.blobs.get(chunk.blob)
        await mallory.close()

    attack(test)


def test_somebody_elses_blobs_cannot_be_referred_to(attack: Callable[[Attack], None]) -> None:
    """Announcing or committing them as one's own would make them readable, and keep them."""

    async def test(client: httpx.AsyncClient, alice: Person, _: str) -> None:
        mallory = await person(str(client.base_url).rstrip("/"), options=HASTY)
        (used,) = await alice.metadata.chunks(alice.files[b"file"].id, 1)
        with pytest.raises(DriveError):
            await mallory.metadata.reserve(operation(), [used])
        with pytest.raises(DriveError):
            await mallory.refer(b"mine", [used])
        with pytest.raises(Missing):
            await mallory.blobs.get(used.blob)
        await mallory.close()

    attack(test)


def test_a_user_has_a_bounded_number_of_requests(metadata_url: str, blobs_url: str) -> None:
    """More at once are told to come later, which the client does by itself; other users go on."""

    async def run() -> None:
        async with served(metadata_url, blobs_url, requests_of_user=1) as server, bare(server.url) as client:
            alice, bob = await person(server.url), await person(server.url)
            tokens = [await token_of(alice), await token_of(bob)]
            answers = await asyncio.gather(*(post(client, "/usage", m.Empty(), token) for token in tokens * 10))
            assert {answer.status_code for answer in answers} == {200, 429}
            await asyncio.gather(*(alice.metadata.usage() for _ in range(10)))
            await alice.close()
            await bob.close()

    asyncio.run(run())


async def raw(client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """The answer to a request that no library would send."""
    url = client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    lines = [f"{method} {path} HTTP/1.1", f"host: {url.host}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin1") + body)
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()
