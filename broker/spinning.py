"""An event loop that looks again for a moment before it sleeps: calls come in bursts, and waking up takes longer."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

from broker.kernel import native
from broker.pools import pool

SPIN = 100e-6
"""Seconds: a little more than a program needs between two calls, less than a thread needs to wake up often."""
_THREADS = 8

Ready = list[tuple[selectors.SelectorKey, int]]


class SpinningSelector(selectors.EpollSelector):
    """Looks for `SPIN` before it waits. Meanwhile other threads have the interpreter."""

    def select(self, timeout: float | None = None) -> Ready:
        if (timeout is None or timeout > 0) and native.spin(self.fileno(), SPIN):
            timeout = 0
        return super().select(timeout)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` on such a loop. Threads of its executors that hang are left behind, for os._exit() to end."""
    loop = asyncio.SelectorEventLoop(SpinningSelector())
    loop.set_default_executor(pool(_THREADS, "beside"))
    loop.run_until_complete(main)
