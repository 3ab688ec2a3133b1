"""What reading and writing of content share: the blob store, and threads for hashing and sealing beside the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from msgspec import Struct, field

from broker.drive.blobs.protocol import BlobStore
from broker.pools import pool

_T = TypeVar("_T")

_THREADS = 4


class Transfers(Struct, frozen=True):
    blobs: BlobStore
    threads: ThreadPoolExecutor = field(default_factory=lambda: pool(_THREADS, "drive"))

    async def on_thread(self, work: Callable[..., _T], *args: object) -> _T:
        """`work`, and its end even when nobody waits for it any more: it may use descriptors of the caller."""
        running = asyncio.get_running_loop().run_in_executor(self.threads, work, *args)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise
