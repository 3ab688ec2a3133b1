"""One HTTP request and its answer, within limits: httpx with all that could leak or wander off switched off."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx
from msgspec import Struct

from broker.drive.errors import Unreachable
from broker.drive.http.origins import on_loopback, trusting
from broker.drive.http.unanswered import unanswered

CONNECTIONS = 16


class Answer(Struct, frozen=True):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Exchange:
    """Requests to one origin, or on links below it. No redirect is followed; no cookie is kept. Proxies are those of
    the environment, but none on the loopback."""

    def __init__(self, origin: str, *, ca: str | None = None, silence: float = 60.0) -> None:
        """`silence` is in seconds: without a byte for so long, an attempt has failed. Malformed if `ca` cannot be
        read."""
        self._client = httpx.AsyncClient(
            verify=trusting(ca),
            follow_redirects=False,
            trust_env=not on_loopback(origin),
            timeout=httpx.Timeout(silence, connect=min(silence, 10.0), pool=None),
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
        )

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | memoryview | None, most: int
    ) -> Answer:
        """The answer, of at most `most` bytes. Lost when there is none, Unreachable when there cannot be one.

        httpx wants to begin and end in one task; a caller that was started eagerly has none before its first wait.
        """
        return await asyncio.ensure_future(self._exchange(method, url, headers, body, most))

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | memoryview | None, most: int
    ) -> Answer:
        content = bytes(body) if isinstance(body, memoryview) else body
        sent = {"accept-encoding": "identity", "user-agent": "seccomp-drive", **headers}
        self._client.cookies.clear()
        try:
            async with self._client.stream(method, url, headers=sent, content=content) as answer:
                return Answer(answer.status_code, answer.headers, await _bounded(answer, most))
        except httpx.TransportError as error:
            raise unanswered(_host(url), error) from error
        except (httpx.InvalidURL, httpx.HTTPError) as error:
            raise Unreachable(f"{_host(url)}: {type(error).__name__}") from error

    async def close(self) -> None:
        await self._client.aclose()


async def _bounded(answer: httpx.Response, most: int) -> bytes:
    """The body as it came: nothing is unpacked that could grow."""
    data = bytearray()
    async for piece in answer.aiter_raw():
        data += piece
        if len(data) > most:
            raise Unreachable(f"{answer.url.host} answers more than {most} bytes")
    return bytes(data)


def _host(url: str) -> str:
    """Without path and query: those of a link are a secret for as long as it is good."""
    return httpx.URL(url).netloc.decode()
