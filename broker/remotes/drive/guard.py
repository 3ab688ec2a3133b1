"""Answers of the store are compared with the rollback memory before anything is made of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from broker.drive.errors import Tampered
from broker.drive.records import Entry, Node, StoredNode
from broker.remotes.drive.memory import Memory, Versions, entry_key, node_key

_T = TypeVar("_T")

_TRIES = 8
_FEW = 128
"""Things that are looked up sooner than a thread wakes."""


class Guard:
    """Asks the store, and asks again where an answer is older than what was seen before."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def ask(self, ask: Callable[[], Awaitable[_T]], versions: Callable[[_T], Versions]) -> _T:
        """The answer of `ask`, with `versions` of the things in it remembered. Tampered when it stays too old.

        An answer may be overtaken by a change of our own that was seen while it was on its way. So what is found too
        old is asked for again, and must then be as new as what was known when it was asked for. One that is, and is
        overtaken every time, is an answer nevertheless: of a folder in which much is going on.
        """
        for number in range(_TRIES):
            with self._memory.watching() as before:
                answer = await ask()
                found = list(versions(answer))
                await self._load(found)
            others = self._memory.others(found)
            overtaken = self._memory.newer(others)
            old = any(version < before.get(thing, self._memory.known(thing)) for thing, version in overtaken)
            if old and number > 0:
                break
            if not overtaken or number == _TRIES - 1:
                self._memory.saw_each(others)
                return answer
        raise Tampered(
            "the store gives an older state than was seen before; if a backup was put back there, or a power loss or "
            "pulling its disk took the last changes from it, accept it with seccomp-drive key accept-rollback"
        )

    async def _load(self, versions: Versions) -> None:
        """Have what the disk knows of these things in memory: of many it is slow to say."""
        while missing := self._memory.missing(versions):
            few = len(missing) <= _FEW
            read = self._memory.read(missing) if few else await asyncio.to_thread(self._memory.read, missing)
            self._memory.remember(read)


def of_node(node: Node) -> tuple[bytes, int]:
    return node_key(node.id), node.version


def of_nodes(nodes: Iterable[StoredNode]) -> Iterator[tuple[bytes, int]]:
    return (of_node(stored.node) for stored in nodes)


def of_pairs(pairs: Iterable[tuple[Entry, StoredNode | None]]) -> Iterator[tuple[bytes, int]]:
    """Of entries and the nodes that they lead to."""
    for entry, stored in pairs:
        yield entry_key(entry.parent, entry.token), entry.version
        if stored is not None:
            yield of_node(stored.node)
