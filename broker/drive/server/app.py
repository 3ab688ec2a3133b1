"""The ASGI application: who asks, whether that may be, and what is done."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Path

from broker.drive.blobs.protocol import BlobStore, LinkedBlobs, valid_blob_name
from broker.drive.errors import DriveError, Malformed, Missing, Unauthenticated
from broker.drive.http import routes
from broker.drive.http.codec import JSON, MSGPACK, decode
from broker.drive.http.messages import Empty, Health, Server
from broker.drive.http.routes import Route
from broker.drive.metadata.serving import MetadataServer, UserStore
from broker.drive.records import BlobName
from broker.drive.server.answers import HEADERS, Blob, answer, breakdown, refusal
from broker.drive.server.bodies import Bodies
from broker.drive.server.limits import Gate, Limits, Rate
from broker.drive.server.metrics import TYPE, Metrics
from broker.drive.server.observing import Application, Observing, note, request_id
from broker.drive.server.openapi import description
from broker.drive.server.operations import ForStrangers, ForUsers

LARGE = 1 << 20
"""Bytes from which on a body is taken apart on a thread, so that nobody else waits for it."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What a server says of itself, and how much it takes on."""

    origin: str
    invitation: bool = False
    links: LinkedBlobs | None = None
    """Where blobs can be fetched without passing through the server."""
    limits: Limits = field(default_factory=Limits)
    metrics_token: str | None = field(default=None, repr=False)


def application(metadata: MetadataServer, blobs: BlobStore, serving: Serving) -> Application:
    """The ASGI application, which closes both stores when it ends."""
    return _Application(metadata, blobs, serving).asgi()


class _Application:
    def __init__(self, metadata: MetadataServer, blobs: BlobStore, serving: Serving) -> None:
        self._metadata = metadata
        self._blobs = blobs
        self._serving = serving
        self._gate = Gate(serving.limits)
        self._bodies = Bodies(serving.limits.bodies, serving.limits.silence)
        self._registrations = Bodies(serving.limits.registrations, serving.limits.silence)
        self._strangers = Rate(serving.limits.stranger_rate, serving.limits.stranger_burst)
        self._metrics = Metrics(lambda: self._gate.under_way)
        self._for_strangers = ForStrangers(metadata.accounts).table()
        self._for_users = ForUsers(serving.links).table()

    def asgi(self) -> Application:
        paths = [Path(route.path, self._message(route), methods=["POST"]) for route in routes.ROUTES]
        paths += [
            Path(routes.SERVER, self._told(routes.SERVER, self._server), methods=["GET"]),
            Path(routes.HEALTH, self._told(routes.HEALTH, self._health), methods=["GET"]),
            Path(routes.METRICS, self._told(routes.METRICS, self._numbers), methods=["GET"]),
            Path(routes.DESCRIPTION, self._told(routes.DESCRIPTION, self._description), methods=["GET"]),
            Path(routes.BLOB, self._told(routes.BLOB, self._blob), methods=["GET", "PUT"]),
        ]
        app = Starlette(
            routes=paths,
            exception_handlers={HTTPException: _not_there},
            lifespan=self._lifespan,
        )
        app.router.redirect_slashes = False
        return Observing(app, self._gate, self._metrics, self._serving.limits.silence)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        await self._blobs.close()
        await self._metadata.close()

    def _message(self, route: Route[Any, Any]) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint of a route: a message in, a message out, both of the same media type."""

        async def work(request: Request) -> Response:
            media = _media(request)
            if route.stranger:
                self._strangers.take(request.client.host if request.client else "")
                asked = await self._read(request, route, media)
                return answer(await self._for_strangers[route.path](asked), media)
            async with self._user(request) as (store, token):
                asked = await self._read(request, route, media)
                if route is routes.LOGOUT:
                    await self._metadata.accounts.logout(token)
                    return answer(Empty(), media)
                return answer(await self._for_users[route.path](store, asked), media)

        return self._told(route.path, work)

    def _told(
        self, label: str, work: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """`work` under a name for log and metrics, with its errors as answers."""

        async def endpoint(request: Request) -> Response:
            note(request.scope, route=label)
            try:
                return await work(request)
            except DriveError as error:
                note(request.scope, code=error.code, error=error)
                return refusal(error, _media_or_json(request))
            except Exception as error:
                note(request.scope, code=DriveError.code, error=error)
                return breakdown(request_id(request.scope), _media_or_json(request))

        return endpoint

    @asynccontextmanager
    async def _user(self, request: Request) -> AsyncIterator[tuple[UserStore, str]]:
        """The store of who asks, and their token. Unauthenticated before anything of the body is read."""
        token = _bearer(request)
        user = await self._metadata.accounts.authenticate(token)
        note(request.scope, user=user.hex()[:8])
        with self._gate.request_of(user):
            yield self._metadata.for_user(user), token

    async def _read(self, request: Request, route: Route[Any, Any], media: str) -> object:
        bodies = self._registrations if route is routes.REGISTER else self._bodies
        whole = self._serving.limits.silence if route.stranger else None
        async with bodies.body(request, route.limit, whole) as body:
            if len(body) < LARGE:
                return decode(body, route.asked, media)
            return await asyncio.to_thread(decode, body, route.asked, media)

    async def _blob(self, request: Request) -> Response:
        name = BlobName(request.path_params["name"])
        async with self._user(request) as (store, _):
            if not valid_blob_name(name):
                raise Missing("no such blob")
            if request.method == "PUT":
                return await self._put(request, store, name)
            if not await store.readable([name]):
                raise Missing("no such blob")
            return await self._get(name)

    async def _get(self, name: BlobName) -> Response:
        async with await self._bodies.room(routes.BLOB_BODY_MAX) as room:
            return Blob(await self._blobs.get(name), room.pop_all())

    async def _put(self, request: Request, store: UserStore, name: BlobName) -> Response:
        """A blob that the user has announced, whole or not at all."""
        size = await store.expected(name)
        async with self._bodies.body(request, routes.BLOB_BODY_MAX) as body:
            if len(body) != size:
                raise Malformed(f"a blob of {len(body)} bytes, where {size} were announced")
            await self._blobs.put(name, body)
        return answer(Empty())

    async def _server(self, request: Request) -> Response:
        serving, server_id = self._serving, await self._metadata.accounts.server_id()
        server = Server(server_id, serving.origin, serving.invitation, serving.links is not None)
        return answer(server, MSGPACK if MSGPACK in request.headers.get("accept", "") else JSON)

    async def _health(self, _: Request) -> Response:
        await self._metadata.check()
        return answer(Health("ok"), JSON)

    async def _numbers(self, request: Request) -> Response:
        wanted = self._serving.metrics_token
        if wanted is not None and not hmac.compare_digest(_bearer(request).encode(), wanted.encode()):
            raise Unauthenticated("the numbers are not for everybody")
        return Response(self._metrics.text(), 200, HEADERS, TYPE)

    async def _description(self, _: Request) -> Response:
        return answer(description(), JSON)


def _bearer(request: Request) -> str:
    """RFC 6750, 2.1. Unauthenticated."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > 256 or not token.isascii():
        raise Unauthenticated("a token is needed: Authorization: Bearer …")
    return token


def _media(request: Request) -> str:
    """Of the body, and so of the answer."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in (MSGPACK, JSON):
        raise Malformed(f"a body is {MSGPACK} or {JSON}")
    return media


def _media_or_json(request: Request) -> str:
    """Of an error: as the client speaks."""
    said = request.headers.get("content-type", "") + request.headers.get("accept", "")
    return MSGPACK if MSGPACK in said else JSON


async def _not_there(request: Request, error: Exception) -> Response:
    """A path or a method that there is none of."""
    assert isinstance(error, HTTPException)
    found = Malformed("this path is for another method") if error.status_code == 405 else Missing("no such thing")
    response = refusal(found, _media_or_json(request))
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response
