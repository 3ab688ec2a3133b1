"""What all trees of one drive share: the stores, what was opened of them, and the rollback memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker.drive.blobs.protocol import BlobStore
from broker.drive.metadata.protocol import MetadataStore
from broker.drive.records import NodeId
from broker.remotes.drive.committing import Commits
from broker.remotes.drive.guard import Guard
from broker.remotes.drive.memory import Memory
from broker.remotes.drive.naming import Names
from broker.remotes.drive.nodes import Bodies
from broker.remotes.drive.readers import Readers
from broker.remotes.drive.reading import Reading
from broker.remotes.drive.transfers import Transfers
from broker.remotes.drive.walk import Walk
from broker.remotes.drive.writing import Writing

_FLUSHED_AFTER = 2.0
"""Seconds after which what was seen is written down."""


class Core:
    """Built once for each session and drive; closed with `close`."""

    def __init__(
        self,
        store: MetadataStore,
        blobs: BlobStore,
        memory: Memory,
        *,
        home: NodeId | None = None,
        spend: Callable[[], bool] = lambda: False,
    ) -> None:
        """`home` is the root of the user's tree where others can have a part in it; `spend` as for `Commits`."""
        self.store = store
        self.memory = memory
        self.guard = Guard(memory)
        self.walk = Walk(store, self.guard)
        self.bodies = Bodies()
        self.spend = spend
        self.commits = Commits(store, memory, spend)
        self.names = Names(self.commits, self.walk, Readers(store, self.walk, home) if home else None)
        self.transfers = Transfers(blobs)
        self.reading = Reading(store, self.transfers)
        self.writing = Writing(store, self.transfers, self.reading)
        self._flush: asyncio.TimerHandle | None = None

    def remember(self) -> None:
        """Have what was seen written down soon."""
        if self.memory.waiting and self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(_FLUSHED_AFTER, self._write_down)

    async def close(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
        await self.reading.close()
        await asyncio.to_thread(self.memory.close)
        self.transfers.threads.shutdown(wait=False)
        await self.store.close()
        await self.transfers.blobs.close()

    def _write_down(self) -> None:
        self._flush = None
        self.transfers.threads.submit(self.memory.flush)
