"""Bare HTTP requests to a server, as an attacker would write them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from broker.drive.http import messages as m
from broker.drive.http import routes
from broker.drive.http.codec import MSGPACK, encode
from broker.drive.http.routes import Route
from broker.drive.records import NodeId, Token, UserId
from tests.broker.drive.server.people import Person, chunk_of, operation


@asynccontextmanager
async def bare(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


async def post(
    client: httpx.AsyncClient, path: str, message: object, token: str | None = None, media: str = MSGPACK
) -> httpx.Response:
    body = message if isinstance(message, bytes) else encode(message, media)
    headers = {"content-type": media} | ({"authorization": f"Bearer {token}"} if token else {})
    return await client.post(path, content=body, headers=headers)


async def token_of(person: Person) -> str:
    """A token that is good now."""
    await person.metadata.usage()
    assert person.connection._token
    return person.connection._token


def code(answer: httpx.Response) -> str:
    """Of a failure, whichever way it is encoded."""
    if answer.headers["content-type"] == MSGPACK:
        return str(msgspec.msgpack.decode(answer.content)["code"])
    return str(answer.json()["code"])


def some_message(route: Route[Any, Any], node: NodeId, user: UserId) -> object:
    """A well-formed request of the route about that node and user."""
    match route.path:
        case "/register":
            raise AssertionError("registering is for strangers")
        case "/nodes" | "/inline":
            return m.Ids([node])
        case "/lookup":
            return m.Lookup([(node, Token(os.urandom(32)))])
        case "/list":
            return m.ListFolder(node)
        case "/descendants":
            return m.Descend(node)
        case "/chunks":
            return m.ChunksOf(node, 1)
        case "/reserve":
            return m.Reserve(operation(), [chunk_of(0, b"x")])
        case "/commit":
            return m.Changes(operation())
        case "/grants":
            return m.OneNode(node)
        case "/user":
            return m.Find(id=user)
        case "/blobs/links":
            return m.Blobs([chunk_of(0, b"x").blob])
        case _:
            return m.Empty()


FOR_USERS = [route for route in routes.ROUTES if not route.stranger]
