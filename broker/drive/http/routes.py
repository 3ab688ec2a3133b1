"""What a server can be asked: the table that server, client and description share."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from msgspec import Struct

from broker.drive.blobs.protocol import BLOB_MAX
from broker.drive.http import messages as m
from broker.drive.metadata.protocol import Below, Listed, Usage
from broker.drive.metadata.serving import Challenge, Session
from broker.drive.records import User

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

BODY_MAX = 8 << 20
"""Bytes of a request's body, where nothing else is said."""

COMMIT_MAX = 128 << 20
"""Bytes of a commit: enough for the chunks of a file of a tebibyte."""

STRANGER_MAX = 16 << 10
"""Bytes of a body from somebody who has not said who they are: ids, nonces and signatures."""

REGISTER_MAX = 2 << 20
"""Bytes of a registration, which has the root of a tree."""


class Route(Generic[Asked, Answered], Struct, frozen=True):
    """A POST of one message that is answered by another. `summary` is for the description."""

    path: str
    asked: type[Asked]
    answered: type[Answered]
    summary: str
    stranger: bool = False
    """Whether it is for those who have no token (yet)."""
    limit: int = BODY_MAX


REGISTER = Route("/register", m.Register, User, "Become a user", stranger=True, limit=REGISTER_MAX)
CHALLENGE = Route("/login/challenge", m.Empty, Challenge, "Get what to sign", stranger=True, limit=STRANGER_MAX)
LOGIN = Route("/login", m.Login, Session, "Get a token for a signed challenge", stranger=True, limit=STRANGER_MAX)
LOGOUT = Route("/logout", m.Empty, m.Empty, "Make the token worthless")
NODES = Route("/nodes", m.Ids, m.Nodes, "Those of the nodes that there are")
LOOKUP = Route("/lookup", m.Lookup, m.Names, "The entries of names, in the order asked for")
LIST = Route("/list", m.ListFolder, Listed, "One page of a folder")
DESCENDANTS = Route("/descendants", m.Descend, Below, "One page of all that is below a folder")
INLINE = Route("/inline", m.Ids, m.Inline, "Content that is kept beside its nodes")
CHUNKS = Route("/chunks", m.ChunksOf, m.Chunks, "The chunks of one version of a node")
RESERVE = Route("/reserve", m.Reserve, m.Empty, "Announce blobs before they are uploaded")
COMMIT = Route("/commit", m.Changes, m.Nodes, "Make changes, all or none", limit=COMMIT_MAX)
GRANTS = Route("/grants", m.OneNode, m.Grants, "Grants on a node of one's own")
RECEIVED = Route("/received", m.Empty, m.Received, "Grants that the user has been given")
USER = Route("/user", m.Find, User, "A user, by fingerprint or by name")
USAGE = Route("/usage", m.Empty, Usage, "What the user has stored, and may store")
LINKS = Route("/blobs/links", m.Blobs, m.Links, "URLs from which blobs can be fetched for five minutes")

ROUTES: tuple[Route[Any, Any], ...] = (
    REGISTER,
    CHALLENGE,
    LOGIN,
    LOGOUT,
    NODES,
    LOOKUP,
    LIST,
    DESCENDANTS,
    INLINE,
    CHUNKS,
    RESERVE,
    COMMIT,
    GRANTS,
    RECEIVED,
    USER,
    USAGE,
    LINKS,
)

SERVER = "/server"
"""GET: what a client must know before it registers."""

BLOB = "/blobs/{name}"
"""PUT and GET of the bytes of a blob."""

BLOB_BODY_MAX = BLOB_MAX
HEALTH, METRICS, DESCRIPTION = "/health", "/metrics", "/openapi.json"
