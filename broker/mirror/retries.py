"""What could not be pushed, and when it is tried again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_PAUSE_FIRST, _PAUSE_MOST = 5.0, 300.0
"""Seconds between attempts."""


class Retries:
    """The files whose last push failed. A remote that failed may be back in a while, and its files need not wait for
    the end of the session."""

    def __init__(self, attempt: Callable[[int], None]) -> None:
        """`attempt` begins a push of an inode."""
        self._attempt = attempt
        self._failed: dict[int, float] = {}
        """When each was tried last, by time.monotonic()."""
        self._pause = _PAUSE_FIRST
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, ino: int) -> bool:
        """Whether its last push failed: the user has been told of it."""
        return ino in self._failed

    def failed(self, ino: int) -> None:
        """It is tried again later."""
        self._failed[ino] = time.monotonic()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._pause, self._try_all)
            self._pause = min(self._pause * 2, _PAUSE_MOST)

    def succeeded(self, ino: int) -> None:
        self._failed.pop(ino, None)

    def has_failed(self, ino: int, since: float) -> bool:
        """Whether its last push has failed since then."""
        return self._failed.get(ino, 0.0) >= since

    def have_failed(self, since: float) -> bool:
        """The same of any file."""
        return any(failed >= since for failed in self._failed.values())

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _try_all(self) -> None:
        self._timer = None
        if not self._failed:
            self._pause = _PAUSE_FIRST
        for ino in list(self._failed):
            self._attempt(ino)
