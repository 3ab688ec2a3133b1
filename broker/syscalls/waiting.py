"""Opens that may wait for a partner (fifo(7)): each on a thread of its own, which a signal brings back."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_WAKE = signal.SIGRTMIN + 8
"""Blocked in all other threads. Its handler has no SA_RESTART, and so open(2) is EINTR."""
_AGAIN = 0.01
_ATTEMPTS = 100


async def open_slowly(act: Callable[[], int]) -> int:
    """The descriptor that `act` opens. The wait of a caller that goes away ends, and nobody else's."""
    own = ThreadPoolExecutor(1, "open")  # those of the loop would soon all wait for partners
    opening = _Opening(act)
    waiting = asyncio.get_running_loop().run_in_executor(own, opening.run)
    own.shutdown(wait=False)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        signal.signal(_WAKE, lambda *_: None)
        for _ in range(_ATTEMPTS):  # the signal may come just before the thread waits: repeat it
            opening.wake()
            await asyncio.wait([waiting], timeout=_AGAIN)
            if waiting.done():
                break
        else:
            waiting.add_done_callback(_close_opened)  # what does not listen to signals, as some file systems
            raise
        try:
            return waiting.result()  # a partner came first
        except InterruptedError:
            pass
        raise


class _Opening:
    """What happens on the thread, and the way to it as long as it is there."""

    def __init__(self, act: Callable[[], int]) -> None:
        self._act = act
        self._lock = threading.Lock()
        self._thread: int | None = None

    def run(self) -> int:
        with self._lock:
            self._thread = threading.get_ident()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {_WAKE})
        try:
            return self._act()
        finally:
            with self._lock:
                self._thread = None

    def wake(self) -> None:
        with self._lock:
            if self._thread is not None:
                signal.pthread_kill(self._thread, _WAKE)


def _close_opened(opened: asyncio.Future[int]) -> None:
    if not opened.cancelled() and opened.exception() is None:
        os.close(opened.result())
