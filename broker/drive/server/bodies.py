"""Bodies of requests, read within limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from broker.drive.errors import Malformed, Unreachable
from broker.drive.server.limits import Budget


class TooLong(Malformed):
    """A body is longer than such a request may have."""


class NoLength(Malformed):
    """A body whose length is not said beforehand."""


class TooSlow(Unreachable):
    """A body that does not come, or not to its end."""


class Bodies:
    """All that are in memory, of some requests."""

    def __init__(self, budget: int, silence: float) -> None:
        self._budget = Budget(budget)
        self._silence = silence

    @asynccontextmanager
    async def body(self, request: Request, most: int, whole: float | None = None) -> AsyncIterator[bytes]:
        """The body, which counts against the budget inside of the block, and may take `whole` seconds to come.
        TooLong, NoLength or TooSlow."""
        length = length_of(request)
        if length > most:
            raise TooLong(f"a body of {length} bytes: here, {most} are the most")
        async with self._budget.hold(length):
            yield await self._read(request, length, whole)

    async def room(self, count: int) -> AsyncExitStack:
        """Of the budget, for the body of an answer, until the stack is closed."""
        stack = AsyncExitStack()
        await stack.enter_async_context(self._budget.hold(count))
        return stack

    async def _read(self, request: Request, length: int, whole: float | None) -> bytes:
        data = bytearray()
        stream = request.stream()
        try:
            async with asyncio.timeout(whole):
                while True:
                    data += await asyncio.wait_for(anext(stream), self._silence)
        except StopAsyncIteration:
            pass
        except (TimeoutError, ClientDisconnect) as error:
            raise TooSlow("the body ends before its length") from error
        if len(data) != length:
            raise TooSlow("the body ends before its length")
        return bytes(data)


def length_of(request: Request) -> int:
    """Of the body, as the header says. NoLength."""
    text = request.headers.get("content-length", "")
    if not (text.isascii() and text.isdigit() and len(text) < 20) or "transfer-encoding" in request.headers:
        raise NoLength("a request needs a body, and its length before it (Content-Length)")
    return int(text)
