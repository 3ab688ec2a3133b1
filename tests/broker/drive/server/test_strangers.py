"""Who has no token, or one that is no good, gets nothing from any endpoint; logins cannot be replayed or relayed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import text

from broker.drive.errors import Tampered, Unauthenticated
from broker.drive.format.auth import sign_login
from broker.drive.format.identity import Identity, new_identity
from broker.drive.http import messages as m
from broker.drive.http.codec import MSGPACK, decode, encode
from broker.drive.metadata.serving import Challenge
from tests.broker.drive.server.asking import FOR_USERS, bare, code, post, some_message, token_of
from tests.broker.drive.server.people import HASTY, Person, known, person
from tests.broker.drive.server.serving import Served, served


async def refused_everywhere(client: httpx.AsyncClient, alice: Person, authorization: str | bytes | None) -> None:
    """Every endpoint that is for users says the same."""
    headers = {"content-type": MSGPACK} | ({"authorization": authorization} if authorization is not None else {})
    blob = "/blobs/" + "0" * 32
    answers = [await client.get(blob, headers=headers), await client.put(blob, content=b"x", headers=headers)]
    for route in FOR_USERS:
        body = some_message(route, alice.home, alice.identity.user_id)
        answers.append(await client.post(route.path, content=encode(body), headers=headers))
    assert {(answer.status_code, code(answer)) for answer in answers} == {(401, "unauthenticated")}
    assert all(answer.headers["www-authenticate"] == "Bearer" for answer in answers)


def test_every_endpoint_refuses_strangers(metadata_url: str, blobs_url: str) -> None:
    """Without a token, with one that was never given, with pieces of a good one, and with other schemes."""

    async def run() -> None:
        async with served(metadata_url, blobs_url) as server, bare(server.url) as client:
            alice = await person(server.url)
            good = await token_of(alice)
            forged = [None, "", "Bearer", "Bearer x", f"Bearer {good[:-1]}", f"Bearer {good}x", good]
            forged += [f"Basic {good}", f"Bearer {good} {good}", f"Bearer {'x' * 5000}", b"Bearer \xe9"]
            for authorization in forged:
                await refused_everywhere(client, alice, authorization)
            assert (await post(client, "/usage", m.Empty(), good)).status_code == 200
            await alice.close()

    asyncio.run(run())


def test_a_token_ends(metadata_url: str, blobs_url: str) -> None:
    """When it has expired by the database's clock, and at once by a logout; the client logs in again by itself."""

    async def run() -> None:
        async with served(metadata_url, blobs_url) as server, bare(server.url) as client:
            alice = await person(server.url)
            expired = await token_of(alice)
            await expire(server, "tokens")
            await refused_everywhere(client, alice, f"Bearer {expired}")
            await alice.save(b"file", [bytes(1 << 20)])
            renewed = await token_of(alice)
            assert renewed != expired
            await alice.close()
            await refused_everywhere(client, alice, f"Bearer {renewed}")

    asyncio.run(run())


def test_a_challenge_is_good_once(metadata_url: str, blobs_url: str) -> None:
    """A login that was seen on its way is worth nothing, nor is one after a wrong guess, or too late."""

    async def run() -> None:
        async with served(metadata_url, blobs_url) as server, bare(server.url) as client:
            alice = await person(server.url)
            seen = await login_for(client, alice.identity)
            assert (await post(client, "/login", seen)).status_code == 200
            assert code(await post(client, "/login", seen)) == "unauthenticated"

            guessed = await login_for(client, alice.identity)
            wrong = m.Login(guessed.user, guessed.nonce, os.urandom(64))
            assert code(await post(client, "/login", wrong)) == "unauthenticated"
            assert code(await post(client, "/login", guessed)) == "unauthenticated"

            late = await login_for(client, alice.identity)
            await expire(server, "challenges")
            assert code(await post(client, "/login", late)) == "unauthenticated"

            unknown = m.Login(alice.identity.user_id, os.urandom(32), os.urandom(64))
            assert code(await post(client, "/login", unknown)) == "unauthenticated"
            await alice.close()

    asyncio.run(run())


def test_a_login_is_for_one_user_of_one_server(metadata_url: str, blobs_url: str) -> None:
    """A signature by another user, or for another origin, or another server's id, lets nobody in as Alice."""

    async def run() -> None:
        async with served(metadata_url, blobs_url) as server, bare(server.url) as client:
            alice, mallory = await person(server.url), await person(server.url)
            user = alice.identity.user_id
            identities = [
                mallory.identity,
                replace(alice.identity, server="https://elsewhere.example"),
                replace(alice.identity, server_id=os.urandom(16)),
                replace(alice.identity, secret=os.urandom(20)),
            ]
            for identity in identities:
                login = await login_for(client, identity)
                forged = m.Login(user, login.nonce, login.signature)
                assert code(await post(client, "/login", forged)) == "unauthenticated"
            await alice.close()
            await mallory.close()

    asyncio.run(run())


def test_a_client_signs_for_its_own_server_only(metadata_url: str, blobs_url: str) -> None:
    """Pointed at another server, it says so, and what it has signed there is no use at its own."""

    async def run() -> None:
        async with served(metadata_url, blobs_url) as server:
            elsewhere = new_identity("alice", server.url, os.urandom(16))
            with pytest.raises(Tampered, match="is not the server that the key of alice was made for"):
                await known(server.url, elsewhere, HASTY).metadata.usage()
            unknown = new_identity("alice", server.url, await server.metadata.accounts.server_id())
            with pytest.raises(Unauthenticated):
                await known(server.url, unknown, HASTY).metadata.usage()

    asyncio.run(run())


def test_strangers_are_slowed_down(metadata_url: str, blobs_url: str) -> None:
    """Logins and registrations from one address come at a limited rate; users are not affected."""

    async def run() -> None:
        limits = {"stranger_burst": 8, "stranger_rate": 0.01}
        async with served(metadata_url, blobs_url, **limits) as server, bare(server.url) as client:
            alice = await person(server.url)
            await token_of(alice)
            answers = [await post(client, "/login/challenge", m.Empty()) for _ in range(8)]
            busy = [answer for answer in answers if answer.status_code == 429]
            assert busy and all(int(answer.headers["retry-after"]) >= 1 for answer in busy)
            assert (await alice.metadata.usage()).nodes == 1
            await alice.close()

    asyncio.run(run())


def test_the_database_has_no_token(metadata_url: str, blobs_url: str) -> None:
    """Nor an invitation: only their hashes, so that a copy of it lets nobody in."""

    async def run() -> None:
        async with served(metadata_url, blobs_url) as server:
            alice = await person(server.url)
            secrets = [await token_of(alice), await server.metadata.accounts.invite()]
            with server.metadata.database.engine.connect() as connection:
                driver = connection.connection.driver_connection
                assert isinstance(driver, sqlite3.Connection)
                dump = "\n".join(driver.iterdump())
            assert "tokens" in dump
            for secret in secrets:
                assert secret not in dump and secret.encode().hex() not in dump.lower()
            await alice.close()

    asyncio.run(run())


async def login_for(client: httpx.AsyncClient, identity: Identity) -> m.Login:
    """What the identity's client would send, with a new challenge."""
    answer = await post(client, "/login/challenge", m.Empty())
    challenge = decode(answer.content, Challenge)
    return m.Login(identity.user_id, challenge.nonce, sign_login(identity, challenge.nonce, challenge.expires))


async def expire(server: Served, table: str) -> None:
    with server.metadata.database.engine.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET expires = 1"))
