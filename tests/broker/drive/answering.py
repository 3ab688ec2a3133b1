"""A server that says one thing, whatever it is asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.drive.http.codec import MSGPACK


@asynccontextmanager
async def answering(
    answer: bytes, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers everything so; its URL, and what it was asked."""
    asked: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1 << 16))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port, ssl=tls)
    host = "localhost" if tls else "127.0.0.1"
    try:
        yield f"http{'s' if tls else ''}://{host}:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()


def http(status: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", f"content-type: {MSGPACK}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
