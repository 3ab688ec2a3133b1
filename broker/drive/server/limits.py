"""How much a server takes on: from everybody together, from one user, and from strangers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from msgspec import Struct

from broker.drive.http.retrying import Lost


class Limits(Struct, frozen=True):
    requests: int = 512
    """Under way at once."""
    requests_of_user: int = 64
    bodies: int = 256 << 20
    """Bytes of bodies in memory at once: further ones wait before they are read. More than any single body."""
    registrations: int = 16 << 20
    """The same of registrations: whatever strangers do with them, it is not in the way of users."""
    silence: float = 30.0
    """Seconds without a byte of a body after which its request fails; of a stranger's, seconds for all of it."""
    stranger_rate: float = 5.0
    """Requests a second from one address without a token: logins and registrations."""
    stranger_burst: int = 100


class Busy(Lost):
    """More than the limits allow: later, please."""


class Gate:
    """Counts what is under way."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all = 0
        self._users: Counter[bytes] = Counter()

    @property
    def under_way(self) -> int:
        return self._all

    @contextmanager
    def request(self) -> Iterator[None]:
        if self._all >= self._limits.requests:
            raise Busy("the server has too much to do", 1.0)
        self._all += 1
        try:
            yield
        finally:
            self._all -= 1

    @contextmanager
    def request_of(self, user: bytes) -> Iterator[None]:
        if self._users[user] >= self._limits.requests_of_user:
            raise Busy("too many requests of this user at once", 1.0)
        self._users[user] += 1
        try:
            yield
        finally:
            self._users[user] -= 1
            if not self._users[user]:
                del self._users[user]


class Budget:
    """Bytes that may be held at once; who comes first is served first."""

    def __init__(self, most: int) -> None:
        self._left = self._most = most
        self._waiting: OrderedDict[asyncio.Future[None], int] = OrderedDict()

    @asynccontextmanager
    async def hold(self, count: int) -> AsyncIterator[None]:
        """Wait until `count` bytes are free; of more than there are in all, all."""
        count = min(count, self._most)
        if self._waiting or count > self._left:
            await self._wait(count)
        else:
            self._left -= count
        try:
            yield
        finally:
            self._left += count
            self._wake()

    async def _wait(self, count: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = count
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._left += count
            self._waiting.pop(turn, None)
            self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting:
            turn, count = next(iter(self._waiting.items()))
            if count > self._left:
                return
            del self._waiting[turn]
            if not turn.cancelled():
                self._left -= count
                turn.set_result(None)


class Rate:
    """A bucket of requests for each address, filled at a constant rate; those used least recently are forgotten."""

    _ADDRESSES = 10_000

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> None:
        """One request from there. Busy when the bucket is empty, with the time after which it is not."""
        now = self._clock()
        level, then = self._buckets.pop(address, (float(self._burst), now))
        level = min(self._burst, level + (now - then) * self._rate)
        if len(self._buckets) >= self._ADDRESSES:
            self._buckets.popitem(last=False)
        if level < 1:
            self._buckets[address] = level, now
            raise Busy("too many requests from this address", (1 - level) / self._rate)
        self._buckets[address] = level - 1, now
