"""Blobs behind a server: up through it, down by links to the store where it gives any."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence

from broker.drive.blobs.protocol import BLOB_MAX, StoredBlob, valid_blob_name
from broker.drive.errors import Denied, Malformed, Missing, Unreachable
from broker.drive.http import routes
from broker.drive.http.codec import BYTES
from broker.drive.http.connection import Connection
from broker.drive.http.exchange import Exchange
from broker.drive.http.messages import IDS_MAX, Blobs, Links
from broker.drive.http.origins import on_loopback
from broker.drive.http.retrying import Lost
from broker.drive.records import BlobName


class HttpBlobs:
    """The `BlobStore` of the connection's user. Only collection on the server deletes or lists blobs."""

    def __init__(self, connection: Connection) -> None:
        """Whoever opened the connection closes it."""
        self._connection = connection
        self._links = _Links(connection)

    async def put(self, name: BlobName, data: bytes | memoryview, *, durable: bool = True) -> None:
        """Always durable, so that `settle` has nothing left to do."""
        if len(data) > BLOB_MAX:
            raise Malformed(f"a blob of {len(data)} bytes: no more than {BLOB_MAX} are stored")
        await self._connection.send("PUT", _path(name), data, BYTES)

    async def settle(self, names: Sequence[BlobName] | None) -> None:
        pass

    async def get(self, name: BlobName) -> bytes:
        path = _path(name)
        if (await self._connection.server()).links and (data := await self._links.get(name)) is not None:
            return data
        return await self._connection.send("GET", path, None, most=BLOB_MAX)

    async def delete(self, names: Sequence[BlobName]) -> None:
        raise Denied("blobs are deleted by the collection on the server")

    async def list(self) -> AsyncIterator[Sequence[StoredBlob]]:
        raise Denied("blobs are listed by the collection on the server")
        yield ()

    async def owner(self) -> bytes | None:
        raise Denied("whose blobs these are is known on the server")

    async def claim(self, owner: bytes) -> None:
        raise Denied("whose blobs these are is said on the server")

    async def close(self) -> None:
        await self._links.close()


class _Links:
    """Fetches by links. Those wanted while a request for links is under way are asked for together after it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._wanted: dict[BlobName, asyncio.Future[str | None]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._usable = True

    async def get(self, name: BlobName) -> bytes | None:
        """None where the server has to be asked instead; Missing."""
        if not self._usable:
            return None
        link = await self._link(name)
        if link is None:
            raise Missing("no such blob")
        if not may_follow(link, self._connection.origin):
            return None
        return await self._fetch(link)

    async def close(self) -> None:
        if self._asking:
            self._asking.cancel()
        if self._exchange:
            await self._exchange.close()

    async def _fetch(self, link: str) -> bytes | None:
        """Without the token: whoever serves the link must not see it."""
        if self._exchange is None:
            options = self._connection.options
            self._exchange = Exchange(link, ca=options.ca, silence=options.silence)
        try:
            answer = await self._exchange("GET", link, {}, None, BLOB_MAX)
        except Lost:
            self._usable = False  # it cannot be reached from here, it seems; the server can
            return None
        except Unreachable:
            return None
        return answer.body if answer.status == 200 else None

    async def _link(self, name: BlobName) -> str | None:
        if name not in self._wanted:
            self._wanted[name] = asyncio.get_running_loop().create_future()
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._wanted[name])

    async def _ask(self) -> None:
        try:
            while self._wanted:
                names = [*self._wanted][:IDS_MAX]
                futures = [self._wanted.pop(name) for name in names]
                await _resolve(futures, self._connection.ask(routes.LINKS, Blobs(names)))
        finally:
            self._asking = None


def may_follow(link: str, origin: str) -> bool:
    """A server elsewhere must not send its clients to services of their own machine, nor over the net without TLS."""
    scheme = link.partition("://")[0]
    try:
        if scheme in ("http", "https") and on_loopback(link):
            return on_loopback(origin)
    except ValueError:  # no URL at all
        return False
    return scheme == "https"


async def _resolve(futures: Sequence[asyncio.Future[str | None]], asked: Awaitable[Links]) -> None:
    """Each future gets its link, or all the error."""
    try:
        links = (await asked).links
        if len(links) != len(futures):
            raise Unreachable("the server answers with another number of links")
        for future, link in zip(futures, links, strict=True):
            future.set_result(link)
    except Exception as error:
        for future in futures:
            if not future.done():
                future.set_exception(error)
                future.exception()  # nobody may be waiting any more
    except asyncio.CancelledError:
        for future in futures:
            future.cancel()
        raise


def _path(name: BlobName) -> str:
    if not valid_blob_name(name):
        raise Malformed(f"{name!r} is no blob's name")
    return routes.BLOB.format(name=name)
