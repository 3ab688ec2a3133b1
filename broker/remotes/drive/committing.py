"""Changes of the store: remembered, and tried anew when somebody else was first."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from broker.drive.errors import DriveError, EntryChanged, EpochChanged, StoreFull
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

    def __init__(self, store: MetadataStore, memory: Memory, spend: Callable[[], bool]) -> None:
        """`spend` frees what was put by for the day that the store is full; whether there was anything."""
        self._store = store
        self._memory = memory
        self._spend = spend

    async def commit(
        self, *changes: Change, durable: bool = False, operation: OperationId | None = None
    ) -> Committed:
        """Make `changes` together, or none of them. What only removes names is made of a full store as well."""
        commit = Commit(operation or new_operation(), changes, durable)
        try:
            committed = await self._store.commit(commit)
        except StoreFull:
            if not all(map(_removes, changes)) or not self._spend():
                raise
            committed = await self._store.commit(commit)
        for change in changes:
            match change:
                case PutEntry(entry):
                    self._memory.saw(entry_key(entry.parent, entry.token), entry.version)
                case PutNode(node):
                    self._memory.saw(*of_node(node))
        return committed


def _removes(change: Change) -> bool:
    return isinstance(change, PutEntry) and change.entry.child is None


async def retried(attempt: Callable[[], Awaitable[_T]], *others: type[DriveError]) -> _T:
    """`attempt`, made anew from the start while somebody else changes the same names, or what `others` say; their
    error when that does not stop."""
    for number in range(1, _ATTEMPTS):
        try:
            return await attempt()
        except (EntryChanged, EpochChanged, *others):  # type: ignore[misc]  # mypy takes no star here
            await asyncio.sleep(random.uniform(0, _PAUSE * number))
    return await attempt()
