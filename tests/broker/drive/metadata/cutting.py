"""A proxy in front of PostgreSQL that loses the reply to a commit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""A simple query, as the protocol has it."""


class Cutting:
    """`cuts` is how many more commits get no reply. They do reach the server, and are done."""

    def __init__(self, port: int) -> None:
        self._server = port
        self.cuts = 0
        self.port = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Cutting]:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._server)
        replies = asyncio.create_task(_pass_on(server, to_client))
        try:
            while data := await client.read(1 << 16):
                to_server.write(data)
                if _COMMIT in data and self.cuts:
                    self.cuts -= 1
                    replies.cancel()
                    await server.read(1)
                    break
        finally:
            replies.cancel()
            to_client.close()
            to_server.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
