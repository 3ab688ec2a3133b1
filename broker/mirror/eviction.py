"""Eviction: clean content leaves the cache, least recently used first, when that or its disk is too full."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import heapq
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator

from msgspec import Struct

from broker.mirror.evicting import Store, empty
from broker.mirror.ledger import Ledger
from broker.mirror.shared import Generation, Locks
from broker.mirror.tree import Tree
from broker.mirror.usage import Candidate, Usage

FREE_MOST = 1 << 30
_FREE_SHARE = 20
_SLACK = 20
"""The share of the limit that goes beyond what has to, and that may be fetched between two looks."""
_RESERVE = 256 << 10
_FIRST, _LOOK = 1.0, 30.0
"""Seconds until the first look, and between two looks at the disk, which others fill too."""
_TRIES, _PAUSE = 250, 0.02
"""How often a session that needs room asks whether another has done with evicting, and the seconds in between."""


class Limits(Struct, frozen=True):
    """`size`: bytes of clean content. `keep_free`: bytes that stay free on the cache's file system; None is 1 GiB, or
    a twentieth of it if that is less."""

    size: int
    keep_free: int | None = None

    def kept_free(self, total: int) -> int:
        """The bytes of a file system of `total` that are to stay free."""
        return min(FREE_MOST, total // _FREE_SHARE) if self.keep_free is None else self.keep_free

    def excess(self, clean: int, free: int, total: int, wanted: int = 0) -> int:
        """How many of the bytes held have to go, with `free` of `total` left on the disk, and `wanted` more to come.

        Somewhat more than has to, so that not every fetch makes room.
        """
        over = max(clean + wanted - self.size, self.kept_free(total) + wanted - free)
        return min(clean, over + min(self.size, total) // _SLACK) if over > 0 else 0


class Eviction:
    """Keeps all mirrors below one cache folder within the limits. Of all sessions, one evicts at a time."""

    def __init__(self, directory: str, limits: Limits) -> None:
        """`directory` is the cache's; each folder below its ``mirrors`` is a mirror."""
        self._directory = directory
        self._limits = limits
        self._stores: dict[str, Store] = {}
        self._fetched = 0
        self._due = False
        """Whether a first look is to come."""
        self._looking: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    def add(self, directory: str, store: Store) -> None:
        """A mirror of this session."""
        self._stores[os.path.realpath(directory)] = store

    def start(self) -> None:
        """Look from time to time from now on, or once when all is over before: a program that begins needs the
        processor more, as each mirror in the cache takes 2 ms."""
        self._due = True
        self._watching = asyncio.ensure_future(self._watch())

    def fetched(self, size: int) -> None:
        """So many bytes came into the cache: look soon whether it is too much."""
        self._fetched += size
        looking = self._looking is not None and not self._looking.done()
        if not looking and (self._fetched > self._limits.size // _SLACK or self._is_short_of(0)):
            self._looking = asyncio.ensure_future(self._look())

    async def make_room(self, size: int, *, full: bool = False) -> bool:
        """Before so many bytes are fetched; `full`: the disk has no room for them. Whether any came free."""
        if not full and not self._is_short_of(size):
            return False
        try:
            freed = await self._evict(size, at_least=size if full else 0, tries=_TRIES)
            return freed > 0 or (full and self.spend_reserve())
        except (OSError, sqlite3.Error):
            return False  # the fetch itself will tell what is wrong

    def spend_reserve(self) -> bool:
        """Free what was put by for what has to be put on record of a full disk; whether there was anything."""
        try:
            held = os.stat(self._reserve).st_blocks > 0
        except FileNotFoundError:
            return False
        os.truncate(self._reserve, 0)
        return held

    async def evict(self) -> int:
        """Bring the cache within its limits; the bytes that came free."""
        return await self._evict(0)

    async def close(self) -> None:
        for task in (self._looking, self._watching):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        if self._due:
            await self._look()
        for store in self._stores.values():
            with contextlib.suppress(OSError, sqlite3.Error):
                await store.usage.save()

    async def _watch(self) -> None:
        with contextlib.suppress(OSError):
            async with self._alone(1, refill=True):
                pass  # the reserve alone is there from the beginning
        await asyncio.sleep(_FIRST)
        self._due = False
        while True:
            await self._look()
            await asyncio.sleep(_LOOK)

    async def _look(self) -> None:
        try:
            for store in self._stores.values():
                await store.usage.save()
            await self.evict()
        except (OSError, sqlite3.Error):
            pass  # the cache is gone or broken: whoever needs it hears of it

    async def _evict(self, wanted: int, *, at_least: int = 0, tries: int = 1) -> int:
        self._fetched = 0
        async with self._alone(tries, refill=not at_least) as alone:
            if not alone:
                return 0
            async with self._all_stores() as stores:
                sound, clean = [], 0
                for store in stores:
                    with contextlib.suppress(OSError, sqlite3.Error):  # broken: the others count
                        clean += await store.usage.clean_bytes()
                        sound.append(store)
                goal = max(self._limits.excess(clean, *self._space(), wanted), min(clean, at_least))
                return await self._free(sound, goal) if goal else 0

    async def _free(self, stores: list[Store], goal: int) -> int:
        found = [
            [(each.at, number, each) for each in await store.usage.candidates()]
            for number, store in enumerate(stores)
        ]
        freed = 0
        astray: dict[int, list[Candidate]] = {}
        for _, number, candidate in heapq.merge(*found, key=lambda each: each[:2]):
            if freed >= goal:
                return freed
            size = await self._empty(stores[number], candidate, candidate.path) if candidate.path else None
            if size is None:
                astray.setdefault(number, []).append(candidate)
            else:
                freed += size
        for number, candidates in astray.items():
            freed += await self._free_astray(stores[number], candidates, goal - freed)
        return freed

    async def _free_astray(self, store: Store, candidates: list[Candidate], goal: int) -> int:
        """Files whose names are not on record, or no longer right: the tree is looked through for them."""
        inos = {candidate.ino for candidate in candidates}
        paths = await asyncio.to_thread(
            lambda: {status.st_ino: path for path, status in store.tree.walk() if status.st_ino in inos}
        )
        freed = 0
        for candidate in candidates:
            if freed < goal and candidate.ino in paths:
                freed += await self._empty(store, candidate, paths[candidate.ino]) or 0
        return freed

    async def _empty(self, store: Store, candidate: Candidate, path: bytes) -> int | None:
        freed = await empty(store, candidate.ino, path)
        if freed:
            await store.usage.forget([candidate.ino])
        return freed

    @contextlib.asynccontextmanager
    async def _alone(self, tries: int, *, refill: bool) -> AsyncIterator[bool]:
        """The lock of the one who evicts; False if another has it after so many tries.

        The file is also the reserve: what eviction has to put on record takes a little room itself. It is not
        refilled for somebody who needs the room at once.
        """
        file = os.open(self._reserve, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            alone = _try_lock(file)
            for _ in range(tries - 1):
                if alone:
                    break
                await asyncio.sleep(_PAUSE)
                alone = _try_lock(file)
            yield alone
            if alone and refill:
                with contextlib.suppress(OSError):
                    os.posix_fallocate(file, 0, _RESERVE)
        finally:
            os.close(file)

    @contextlib.asynccontextmanager
    async def _all_stores(self) -> AsyncIterator[list[Store]]:
        """Those of this session, and those of mirrors that are not in use here or at all."""
        mirrors = os.path.join(os.path.realpath(self._directory), "mirrors")
        async with contextlib.AsyncExitStack() as stack:
            stores = list(self._stores.values())
            for directory in (os.path.join(mirrors, name) for name in os.listdir(mirrors)):
                if directory not in self._stores and os.path.exists(os.path.join(directory, "ledger.sqlite")):
                    with contextlib.suppress(OSError, sqlite3.Error):
                        stores.append(stack.enter_context(_opened(directory, self.spend_reserve)))
            yield stores

    @property
    def _reserve(self) -> str:
        return os.path.join(self._directory, "reserve")

    def _is_short_of(self, size: int) -> bool:
        free, total = self._space()
        return free < self._limits.kept_free(total) + size

    def _space(self) -> tuple[int, int]:
        """(free, all) bytes of the cache's file system; nothing is short where it cannot be asked."""
        try:
            found = os.statvfs(self._directory)
        except OSError:
            return 1 << 62, 0
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


@contextlib.contextmanager
def _opened(directory: str, spend: Callable[[], bool]) -> Iterator[Store]:
    """The store of a mirror that this session has not mounted; `spend` as in `Ledger`."""
    with contextlib.ExitStack() as stack:
        tree = stack.enter_context(contextlib.closing(Tree(directory, owners=False)))
        generation = stack.enter_context(contextlib.closing(Generation(os.path.join(directory, "generation"))))
        locks = stack.enter_context(contextlib.closing(Locks(os.path.join(directory, "locks"))))
        path = os.path.join(directory, "ledger.sqlite")
        ledger = stack.enter_context(contextlib.closing(Ledger(path, generation, spend=spend)))
        yield Store(tree, ledger, locks, Usage(path))


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
