"""An event loop that looks again for a moment before it sleeps: calls come in bursts, and waking up takes longer."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any

SPIN = 100e-6
"""Seconds: a little more than a program needs between two calls, less than a thread needs to wake up often."""

Ready = list[tuple[selectors.SelectorKey, int]]


class SpinningSelector(selectors.EpollSelector):
    """Polls for `SPIN` before it waits. Each look lets other threads have the interpreter."""

    def select(self, timeout: float | None = None) -> Ready:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        until = time.perf_counter() + SPIN
        while time.perf_counter() < until:
            if ready := super().select(0):
                return ready
        return super().select(timeout)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` on such a loop. Threads of its executors that hang are left behind, for os._exit() to end."""
    asyncio.SelectorEventLoop(SpinningSelector()).run_until_complete(main)
