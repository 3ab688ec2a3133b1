"""Short ways to fill a remote and to look at it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from broker.remotes.paths import Path
from broker.remotes.protocol import Attributes, Changes, Remote

NOTHING = Changes()
LATER = 1_600_000_000_123_456_789


@contextmanager
def source(content: bytes) -> Iterator[int]:
    """A descriptor with that content, its position in the middle, where no remote should look."""
    file = os.memfd_create("source")
    try:
        os.write(file, content)
        os.lseek(file, len(content) // 2, os.SEEK_SET)
        yield file
    finally:
        os.close(file)


async def put(remote: Remote, path: Path, content: bytes = b"", changes: Changes = NOTHING) -> Attributes:
    """A new file."""
    with source(content) as file:
        return await remote.write(path, file, None, changes, durable=False)


async def replaced(
    remote: Remote, path: Path, content: bytes, base: Attributes, changes: Changes = NOTHING
) -> Attributes:
    with source(content) as file:
        return await remote.write(path, file, base.version, changes, durable=False)


async def content_of(remote: Remote, path: Path) -> bytes:
    attributes = await remote.stat(path)
    found = b""
    while data := await remote.read(path, attributes.version, len(found), 1 << 20):
        found += data
    return found


async def names_in(remote: Remote, path: Path) -> list[bytes]:
    return sorted([entry.name async for page in remote.list(path) for entry in page])


def needs(remote: Remote, capability: str) -> None:
    if not getattr(remote.capabilities, capability):
        pytest.skip(f"this remote has no {capability}")
