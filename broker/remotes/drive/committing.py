"""Changes of the store: remembered, and tried anew when somebody else was first."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from broker.drive.errors import DriveError, EntryChanged, EpochChanged
from broker.drive.metadata.protocol import Change, Commit, Committed, MetadataStore, PutEntry, PutNode
from broker.drive.records import OperationId
from broker.remotes.drive.guard import of_node
from broker.remotes.drive.memory import Memory, entry_key

_T = TypeVar("_T")

_ATTEMPTS = 8
_PAUSE = 0.01


def new_operation() -> OperationId:
    return OperationId(os.urandom(16))


class Commits:
    """Commits to one store, remembering what became of them."""

    def __init__(self, store: MetadataStore, memory: Memory) -> None:
        self._store = store
        self._memory = memory

    async def commit(
        self, *changes: Change, durable: bool = False, operation: OperationId | None = None
    ) -> Committed:
        """Make `changes` together, or none of them."""
        committed = await self._store.commit(Commit(operation or new_operation(), changes, durable))
        for change in changes:
            match change:
                case PutEntry(entry):
                    self._memory.saw(entry_key(entry.parent, entry.token), entry.version)
                case PutNode(node):
                    self._memory.saw(*of_node(node))
        return committed


async def retried(attempt: Callable[[], Awaitable[_T]], *others: type[DriveError]) -> _T:
    """`attempt`, made anew from the start while somebody else changes the same names, or what `others` say; their
    error when that does not stop."""
    for number in range(1, _ATTEMPTS):
        try:
            return await attempt()
        except (EntryChanged, EpochChanged, *others):  # type: ignore[misc]  # mypy takes no star here
            await asyncio.sleep(random.uniform(0, _PAUSE * number))
    return await attempt()
