"""Registration, challenges, tokens and invitations."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from msgspec.structs import replace
from sqlalchemy import Connection, Update, update

from broker.drive.errors import Denied, Malformed, Missing, NameTaken, Unauthenticated
from broker.drive.format.auth import sign_login
from broker.drive.format.identity import Identity
from broker.drive.metadata.accounts import Terms
from broker.drive.metadata.protocol import PutNode
from broker.drive.metadata.schema import challenges, tokens
from broker.drive.metadata.serving import Session
from broker.drive.metadata.store import SqlStore, open_store
from broker.drive.records import UserId
from tests.broker.drive.metadata.helpers import WithStore, identity_and_root, new_node, refused, register

ORIGIN = "http://localhost:8000"


def name() -> str:
    return f"user-{os.urandom(8).hex()}"


def serving(url: str, test: Callable[[SqlStore], Awaitable[None]], *, invited_only: bool = False) -> None:
    """As a server opens it."""

    async def main() -> None:
        store = await open_store(url, create=True, terms=Terms(ORIGIN, invited_only))
        try:
            await test(store)
        finally:
            await store.close()

    asyncio.run(main())


def _execute(connection: Connection, statement: Update) -> None:
    connection.execute(statement)


async def login(store: SqlStore, identity: Identity) -> Session:
    challenge = await store.accounts.challenge()
    signature = sign_login(identity, challenge.nonce, challenge.expires)
    return await store.accounts.login(identity.user_id, challenge.nonce, signature)


def test_register(with_store: WithStore) -> None:
    """A user is found by name and fingerprint, with an empty home; the same again by a retry is no error."""

    async def test(store: SqlStore) -> None:
        identity, root = identity_and_root(await store.accounts.server_id(), name())
        user = await store.accounts.register(identity.record.encode(), root)
        assert await store.accounts.register(identity.record.encode(), root) == user
        assert (user.id, user.name, user.home) == (identity.user_id, identity.name, identity.home)
        own = store.for_user(user.id)
        assert await own.user(user.name) == await own.user(user.id) == user
        listed = await own.list(user.home)
        assert (listed.folder.node, listed.entries, listed.folder.links) == (root.node, [], 0)
        await refused(Missing, own.user("nobody"))
        await refused(Missing, own.user(UserId(os.urandom(32))))

    with_store(test)


def test_names_and_roots_are_taken_once(with_store: WithStore) -> None:
    """Another identity cannot have the name, and no other root comes to a known identity."""

    async def test(store: SqlStore) -> None:
        server = await store.accounts.server_id()
        alice = await register(store)
        other, root = identity_and_root(server, alice.identity.name)
        await refused(NameTaken, store.accounts.register(other.record.encode(), root))
        await refused(NameTaken, store.accounts.register(alice.identity.record.encode(), root))
        mallory, _ = identity_and_root(server, name())
        await refused(Malformed, store.accounts.register(mallory.record.encode(), PutNode(alice.root)))

    with_store(test)


def test_a_registration_is_signed_and_for_this_server(with_store: WithStore) -> None:
    """Records that are damaged, forged or of another server, and roots that are none, are Malformed."""

    async def test(store: SqlStore) -> None:
        server = await store.accounts.server_id()
        identity, root = identity_and_root(server, name())
        record = identity.record.encode()
        elsewhere, there = identity_and_root(os.urandom(16), name())
        for bad in (b"", record[:-1], record[:-1] + bytes([record[-1] ^ 1]), elsewhere.record.encode()):
            await refused(Malformed, store.accounts.register(bad, there))
        unsigned = PutNode(replace(root.node, signature=bytes(64)))
        for home in (unsigned, PutNode(new_node()), PutNode(root.node, (), b"content")):
            await refused(Malformed, store.accounts.register(record, home))
        await store.accounts.register(record, root)

    with_store(test)


def test_login(new_url: str) -> None:
    """A signed challenge gives a token that says who one is, until it is given back; the database has no token."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        session = await login(store, alice.identity)
        assert await store.accounts.authenticate(session.token) == alice.id
        for bad in ("", session.token + "x", session.token[:-1]):
            await refused(Unauthenticated, store.accounts.authenticate(bad))
        await store.accounts.logout(session.token)
        await store.accounts.logout(session.token)
        await refused(Unauthenticated, store.accounts.authenticate(session.token))

    serving(new_url, test)


def test_a_challenge_is_good_once(new_url: str) -> None:
    """Replayed, unknown and expired challenges, and those that a failed login has used up, let nobody in."""

    async def test(store: SqlStore) -> None:
        alice, mallory = await register(store), await register(store)
        accounts = store.accounts
        challenge = await accounts.challenge()
        signature = sign_login(alice.identity, challenge.nonce, challenge.expires)
        await accounts.login(alice.id, challenge.nonce, signature)
        await refused(Unauthenticated, accounts.login(alice.id, challenge.nonce, signature))
        unknown = os.urandom(32)
        signature = sign_login(alice.identity, unknown, challenge.expires)
        await refused(Unauthenticated, accounts.login(alice.id, unknown, signature))

        used = await accounts.challenge()
        signature = sign_login(alice.identity, used.nonce, used.expires)
        await refused(Unauthenticated, accounts.login(mallory.id, used.nonce, signature))
        await refused(Unauthenticated, accounts.login(alice.id, used.nonce, signature))

        late = await accounts.challenge()
        await store.database.write(_execute, update(challenges).values(expires=1))
        await refused(
            Unauthenticated, accounts.login(alice.id, late.nonce, sign_login(alice.identity, late.nonce, 1))
        )

    serving(new_url, test)


def test_only_the_user_logs_in_and_only_here(new_url: str) -> None:
    """A signature by another key, for another origin, or with another expiry is none; unknown users look alike."""

    async def test(store: SqlStore) -> None:
        alice, mallory = await register(store), await register(store)
        relayed = Identity(alice.identity.secret, alice.identity.name, "http://evil", alice.identity.server_id)
        for signer, user, later in (
            (mallory.identity, alice.id, 0),
            (relayed, alice.id, 0),
            (alice.identity, alice.id, 1),
        ):
            challenge = await store.accounts.challenge()
            signature = sign_login(signer, challenge.nonce, challenge.expires + later)
            await refused(Unauthenticated, store.accounts.login(user, challenge.nonce, signature))
        challenge = await store.accounts.challenge()
        signature = sign_login(alice.identity, challenge.nonce, challenge.expires)
        await refused(Unauthenticated, store.accounts.login(UserId(bytes(32)), challenge.nonce, signature))

    serving(new_url, test)


def test_tokens_expire(new_url: str) -> None:
    """After its time by the database's clock a token is good for nothing."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        session = await login(store, alice.identity)
        await store.database.write(_execute, update(tokens).values(expires=tokens.c.expires - 15 * 60))
        await refused(Unauthenticated, store.accounts.authenticate(session.token))

    serving(new_url, test)


def test_invitations(new_url: str) -> None:
    """Where one must be invited, each invitation is good for one user, whose retry it does not refuse."""

    async def test(store: SqlStore) -> None:
        server = await store.accounts.server_id()
        invitation = await store.accounts.invite()
        identity, root = identity_and_root(server, name())
        record = identity.record.encode()
        await refused(Denied, store.accounts.register(record, root))
        await refused(Denied, store.accounts.register(record, root, "none"))
        user = await store.accounts.register(record, root, invitation)
        assert await store.accounts.register(record, root, invitation) == user
        other, another_root = identity_and_root(server, name())
        await refused(Denied, store.accounts.register(other.record.encode(), another_root, invitation))

    serving(new_url, test, invited_only=True)


def test_one_of_many_gets_the_name(with_store: WithStore) -> None:
    """Of many who register the same name at once one succeeds; the others are told that it is taken."""

    async def test(store: SqlStore) -> None:
        server, wanted = await store.accounts.server_id(), name()
        made = [identity_and_root(server, wanted) for _ in range(8)]
        answers = await asyncio.gather(
            *(store.accounts.register(identity.record.encode(), root) for identity, root in made),
            return_exceptions=True,
        )
        assert sorted(type(answer).__name__ for answer in answers) == ["NameTaken"] * 7 + ["User"]

    with_store(test)
