"""A network between client and server that loses what a test tells it to lose."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum

from tests.broker.drive.seaweed import free_ports


class Loss(Enum):
    REQUEST = "the connection ends within the request"
    REPLY = "the server has the whole request, and nobody gets its answer"
    HALF_REPLY = "the connection ends within the answer"


class Network:
    """Passes bytes on to a server's port. Each loss happens once, at the next request whose first line matches."""

    def __init__(self, to: int) -> None:
        self._to = to
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self._losses: deque[tuple[bytes, Loss]] = deque()
        self.lost = 0

    def lose(self, first_line: str, loss: Loss) -> None:
        self._losses.append((first_line.encode(), loss))

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        connection = _Connection(self, (reader, writer), upstream)
        try:
            await connection.run()
        finally:
            for each in (writer, upstream[1]):
                each.close()

    def next_loss(self, data: bytes) -> Loss | None:
        for index, (first_line, loss) in enumerate(self._losses):
            if data.startswith(first_line):
                del self._losses[index]
                self.lost += 1
                return loss
        return None


class _Connection:
    def __init__(
        self,
        network: Network,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._network = network
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._loss: Loss | None = None

    async def run(self) -> None:
        """Until either side, or a loss, ends it."""
        ways = [asyncio.create_task(self._up()), asyncio.create_task(self._down())]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)

    async def _up(self) -> None:
        with suppress(ConnectionError):
            while data := await self._from_client.read(1 << 16):
                self._loss = self._loss or self._network.next_loss(data)
                if self._loss is Loss.REQUEST:
                    self._to_server.write(data[: len(data) // 2])
                    return
                self._to_server.write(data)
                await self._to_server.drain()

    async def _down(self) -> None:
        with suppress(ConnectionError):
            while data := await self._from_server.read(1 << 16):
                if self._loss is Loss.HALF_REPLY:
                    self._to_client.write(data[: len(data) // 2])
                    await self._to_client.drain()
                if self._loss:
                    return
                self._to_client.write(data)
                await self._to_client.drain()


@asynccontextmanager
async def network(to: int) -> AsyncIterator[Network]:
    between = Network(to)
    server = await asyncio.start_server(between.connected, "127.0.0.1", between.port)
    try:
        yield between
    finally:
        server.close()
