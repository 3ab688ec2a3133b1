"""The protocol of a blob store: immutable named bytes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from msgspec import Struct

from broker.drive.records import BlobName

BLOB_MAX = 4 << 20
"""Bytes of one blob: what is longer is refused, and not read to its end."""

_NAME = re.compile(r"[0-9a-f]{32}\Z")


def valid_blob_name(name: str) -> bool:
    """Whether it is one that `BlobName` describes: nothing else ever becomes a path."""
    return _NAME.match(name) is not None


class StoredBlob(Struct, frozen=True):
    """`size` in bytes, `modified` in seconds since 1970 by the store's clock."""

    name: BlobName
    size: int
    modified: float


class BlobStore(Protocol):
    """All methods raise `DriveError` and nothing else. A blob is written once and never changed."""

    async def put(self, name: BlobName, data: bytes | memoryview, *, durable: bool = True) -> None:
        """With `durable`, the blob survives a power loss of the store once this has returned."""
        ...

    async def settle(self, names: Sequence[BlobName] | None) -> None:
        """Blobs that were put before, or all of them, survive a power loss once this has returned."""
        ...

    async def get(self, name: BlobName) -> bytes:
        """Missing when there is none."""
        ...

    async def delete(self, names: Sequence[BlobName]) -> None:
        """It is no error if one is not there."""
        ...

    def list(self) -> AsyncIterator[Sequence[StoredBlob]]:
        """All blobs, in pages."""
        ...

    async def owner(self) -> bytes | None:
        """Id of the metadata store whose blobs these are; None where nobody has claimed them."""
        ...

    async def claim(self, owner: bytes) -> None:
        """Say whose blobs these are, durably."""
        ...

    async def close(self) -> None: ...


class LinkedBlobs(Protocol):
    """A blob store whose blobs others can fetch by a link, without its credentials."""

    async def links(self, names: Sequence[BlobName], seconds: int) -> Sequence[str]:
        """A URL for each name, good for a GET for so long. None of them is looked at, nor is any known to exist."""
        ...
