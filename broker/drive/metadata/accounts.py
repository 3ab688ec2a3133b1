"""Who may use a store: registration, logins and tokens, all by the database's clock."""

from __future__ import annotations

import os
import secrets
from hashlib import sha256

from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from broker.drive.errors import Damaged, Denied, Malformed, Missing, NameTaken, Tampered, Unauthenticated
from broker.drive.format.auth import login_is_signed
from broker.drive.format.commits import node_is_signed
from broker.drive.format.identity import PublicRecord, decode_record
from broker.drive.metadata import clock, rows
from broker.drive.metadata.clock import SECOND, now_ns
from broker.drive.metadata.database import Database
from broker.drive.metadata.protocol import PutNode
from broker.drive.metadata.schema import challenges, homes, invitations, nodes, tokens, users
from broker.drive.metadata.serving import Challenge, Session
from broker.drive.metadata.validation import check_node
from broker.drive.records import Kind, NodeId, StoredNode, User, UserId

CHALLENGE_SECONDS = 60
TOKEN_SECONDS = 15 * 60
_NONCE = 32


class Terms(Struct, frozen=True):
    """On what terms users are taken. A limit of 0 is none."""

    origin: str = ""
    """The server's public origin, which a login is signed for."""
    invited_only: bool = False
    bytes_limit: int = 0
    nodes_limit: int = 0


class SqlAccounts:
    """`Accounts` (serving.py) in a database."""

    def __init__(self, database: Database, server_id: bytes, terms: Terms) -> None:
        self._database = database
        self._server_id = server_id
        self._terms = terms

    async def server_id(self) -> bytes:
        return self._server_id

    async def any(self) -> bool:
        return await self._database.read(_any)

    async def register(self, record: bytes, home: PutNode, invitation: str | None = None) -> User:
        user = self._user(record, home)
        return await self._database.write_durably(_register, user, home, invitation, self._terms)

    def _user(self, record: bytes, home: PutNode) -> User:
        try:
            decoded = decode_record(record)
        except (Damaged, Tampered) as error:
            raise Malformed(f"no public record of an identity: {error}") from error
        if decoded.server_id != self._server_id:
            raise Malformed("this identity is one of another server")
        check_node(home.node)
        if home.chunks or home.content or home.node.inline:
            raise Malformed("a root has no content")
        if home.node.kind is not Kind.FOLDER or home.node.version != 1 or not node_is_signed(home.node):
            raise Malformed("a root is a new folder, signed by its own key")
        return User(decoded.user_id, decoded.name, record, home.node.id)

    async def challenge(self) -> Challenge:
        return await self._database.write(_challenge, os.urandom(_NONCE))

    async def login(self, user: UserId, nonce: bytes, signature: bytes) -> Session:
        # The challenge goes in a transaction of its own: it must be gone however the rest turns out.
        expires, record = await self._database.write(_use_challenge, user, nonce)
        if expires is None or record is None or not self._is_signed(record, signature, nonce, expires):
            raise Unauthenticated("the login is not signed by this user for this server, or it is too late")
        token = secrets.token_urlsafe(32)
        return Session(token, await self._database.write(_keep_token, user, _hash(token)))

    def _is_signed(self, record: PublicRecord, signature: bytes, nonce: bytes, expires: int) -> bool:
        return login_is_signed(
            record,
            signature,
            origin=self._terms.origin,
            server_id=self._server_id,
            nonce=nonce,
            expires=expires,
        )

    async def authenticate(self, token: str) -> UserId:
        return await self._database.read(_authenticate, _hash(token))

    async def logout(self, token: str) -> None:
        await self._database.write(_logout, _hash(token))

    async def invite(self) -> str:
        invitation = secrets.token_urlsafe(18)
        await self._database.write_durably(_invite, _hash(invitation))
        return invitation


_USER = (users.c.id, users.c.name, users.c.record, homes.c.id)
_by_id = select(*_USER).join(homes, homes.c.owner == users.c.id).where(users.c.id == bindparam("wanted"))
_by_name = select(*_USER).join(homes, homes.c.owner == users.c.id).where(users.c.name == bindparam("wanted"))
_node = select(nodes.c.id).where(nodes.c.id == bindparam("node"))
_take_invitation = (
    update(invitations)
    .where(invitations.c.hash == bindparam("which"), invitations.c.used_by.is_(None))
    .values(used_by=bindparam("user"))
)


def _any(connection: Connection) -> bool:
    return connection.execute(select(users.c.id).limit(1)).first() is not None


def find(connection: Connection, wanted: UserId | str) -> User:
    """By fingerprint or by name; Missing."""
    row = connection.execute(_by_name if isinstance(wanted, str) else _by_id, {"wanted": wanted}).first()
    if row is None:
        raise Missing("no such user")
    return User(*row)


def _register(connection: Connection, user: User, home: PutNode, invitation: str | None, terms: Terms) -> User:
    row = connection.execute(_by_id, {"wanted": user.id}).first()
    if row is not None:
        if User(*row) != user:
            raise NameTaken("this user has registered with another root")
        return user
    if connection.execute(_by_name, {"wanted": user.name}).first():
        raise NameTaken(f"another user is called {user.name}: choose another name")
    if connection.execute(_node, {"node": user.home}).first():
        raise Malformed("this root is not new")
    now = clock.now(connection)
    values = {"id": user.id, "name": user.name, "record": user.record, "created_ns": now}
    connection.execute(insert(users), values)
    _invited(connection, user.id, invitation, terms)
    _insert_home(connection, user, home, terms, now)
    return user


def _invited(connection: Connection, user: UserId, invitation: str | None, terms: Terms) -> None:
    if not terms.invited_only:
        return
    if invitation is None:
        raise Denied("registration needs an invitation: ask who runs the server")
    if connection.execute(_take_invitation, {"which": _hash(invitation), "user": user}).rowcount != 1:
        raise Denied("this invitation is none, or has been used: ask for another")


def _insert_home(connection: Connection, user: User, home: PutNode, terms: Terms, now: int) -> None:
    charged = len(home.node.body)
    limits = {"bytes_limit": terms.bytes_limit, "nodes_limit": terms.nodes_limit}
    connection.execute(insert(homes), {"id": user.home, "owner": user.id, "bytes": charged, "nodes": 1} | limits)
    root = StoredNode(home.node, NodeId(user.home), 0, 0, now)
    connection.execute(insert(nodes), rows.node_values(root, charged))


def _challenge(connection: Connection, nonce: bytes) -> Challenge:
    now = _seconds(connection)
    connection.execute(delete(challenges).where(challenges.c.expires <= now))
    challenge = Challenge(nonce, now + CHALLENGE_SECONDS)
    connection.execute(insert(challenges), {"nonce": challenge.nonce, "expires": challenge.expires})
    return challenge


def _use_challenge(connection: Connection, user: UserId, nonce: bytes) -> tuple[int | None, PublicRecord | None]:
    """When it expires, if it was good until now, and whom it would let in."""
    now = _seconds(connection)
    used = delete(challenges).where(challenges.c.nonce == nonce).returning(challenges.c.expires)
    expires = connection.scalars(used).first()
    record = connection.scalars(select(users.c.record).where(users.c.id == user)).first()
    return expires if expires and expires > now else None, decode_record(record) if record else None


def _keep_token(connection: Connection, user: UserId, hash: bytes) -> int:
    now = _seconds(connection)
    connection.execute(delete(tokens).where(tokens.c.expires <= now))
    connection.execute(insert(tokens), {"hash": hash, "user": user, "expires": now + TOKEN_SECONDS})
    return now + TOKEN_SECONDS


_valid = select(tokens.c.user).where(tokens.c.hash == bindparam("hash"), tokens.c.expires * SECOND > now_ns())


def _authenticate(connection: Connection, hash: bytes) -> UserId:
    user = connection.execute(_valid, {"hash": hash}).scalar()
    if user is None:
        raise Unauthenticated("the token is not valid, or not any more")
    return UserId(user)


def _logout(connection: Connection, hash: bytes) -> None:
    connection.execute(delete(tokens).where(tokens.c.hash == hash))


def _invite(connection: Connection, hash: bytes) -> None:
    connection.execute(insert(invitations), {"hash": hash, "created_ns": clock.now(connection), "used_by": None})


def _seconds(connection: Connection) -> int:
    return clock.now(connection) // SECOND


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()
