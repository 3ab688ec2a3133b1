"""What a server for many users asks of the metadata, beyond what each user's own store answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Struct

from broker.drive.metadata.protocol import MetadataStore, PutNode
from broker.drive.records import BlobName, User, UserId


class Challenge(Struct, frozen=True):
    """What a user signs to log in. Good once, until `expires` (seconds since 1970, by the database's clock)."""

    nonce: bytes
    expires: int


@dataclass(frozen=True, slots=True)
class Session:
    """A bearer token, known to nobody else: the database has its hash only."""

    token: str = field(repr=False)
    expires: int


class Accounts(Protocol):
    """Who may use the store. All methods raise `DriveError` and nothing else; times are by the database's clock."""

    async def server_id(self) -> bytes:
        """Random, made with the database; identities are bound to it."""
        ...

    async def any(self) -> bool:
        """Whether anybody has registered."""
        ...

    async def register(self, record: bytes, home: PutNode, invitation: str | None = None) -> User:
        """A new user with the root of a tree. NameTaken; Denied when an invitation is needed and this is none.

        The same record and home again, by a retry, give the same answer; an invitation is used up once.
        """
        ...

    async def challenge(self) -> Challenge: ...

    async def login(self, user: UserId, nonce: bytes, signature: bytes) -> Session:
        """Unauthenticated when the challenge is unknown, used or expired, or not signed by that user for this
        server's origin and id (format/auth.py). Whatever the answer, the challenge is used up."""
        ...

    async def authenticate(self, token: str) -> UserId:
        """Unauthenticated when the token is unknown or expired."""
        ...

    async def logout(self, token: str) -> None:
        """The token is good for nothing any more; no error if it was not before."""
        ...

    async def invite(self) -> str:
        """A token with which one user can register."""
        ...


class UserStore(MetadataStore, Protocol):
    """The store of one user, and what a server must know before it lets the user at the blobs."""

    async def readable(self, blobs: Sequence[BlobName]) -> Sequence[BlobName]:
        """Those of them that belong to content of nodes which the user may read now."""
        ...

    async def expected(self, blob: BlobName) -> int:
        """The size that the user has announced for an upload by `reserve` and not committed yet; Missing if none."""
        ...


class MetadataServer(Protocol):
    """One database, shared by any number of servers."""

    @property
    def accounts(self) -> Accounts: ...

    def for_user(self, user: UserId) -> UserStore: ...

    async def check(self) -> None:
        """Unreachable when the database does not answer."""
        ...

    async def close(self) -> None: ...
