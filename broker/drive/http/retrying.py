"""When a request that failed is sent again, and after how long."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct

from broker.drive.errors import Unreachable

_T = TypeVar("_T")


class Lost(Unreachable):
    """No answer, or one that says: later. The request may have been carried out or not."""

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        """`seconds` is how long the server wants to be left alone."""
        super().__init__(message)
        self.seconds = seconds


class Patience(Struct, frozen=True):
    """How long to go on, and how pauses grow: all in seconds. Each pause is a random part of what it may be at most,
    so that clients that failed together do not come back together."""

    total: float = 30.0
    quiet: float = 2.0
    """After which somebody should be told of the wait."""
    first: float = 0.1
    most: float = 5.0

    def pause(self, attempt: int, fraction: float) -> float:
        """After attempt 0, 1, 2, …; `fraction` is random in [0, 1)."""
        return min(self.most, self.first * (1 << min(attempt, 30))) * (0.5 + fraction / 2)


def _nobody(error: Lost) -> None:
    """Is told of a wait."""


async def patiently(
    request: Callable[[], Awaitable[_T]], patience: Patience, waits: Callable[[Lost], None] = _nobody
) -> _T:
    """`request` until it is not Lost, or the patience is at an end: then its last error. Only for what may be done
    twice. `waits` is told, once, when that takes longer."""
    began = time.monotonic()
    deadline = began + patience.total
    attempt, told = 0, False
    while True:
        try:
            return await request()
        except Lost as error:
            pause = max(patience.pause(attempt, random.random()), error.seconds)
            if time.monotonic() + pause >= deadline:
                raise
            if not told and time.monotonic() - began >= patience.quiet:
                told = True
                waits(error)
        await asyncio.sleep(pause)
        attempt += 1
