"""A line on the terminal while a fetch or a push takes long."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator

PATIENCE = 1.0
"""Seconds before a transfer is shown."""


class Progress:
    """Shows the transfers of one mount on stderr where that is a terminal; rich is loaded when one is shown."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix.decode(errors="backslashreplace")

    @contextlib.contextmanager
    def transfer(self, what: str, path: bytes, total: int) -> Iterator[Callable[[int], None]]:
        """`what` is "fetching" or "pushing"; call the result with the count of bytes that are through."""
        if not os.isatty(2):
            yield lambda count: None
            return
        bar = _Bar(f"{what} {self._prefix}/{path.decode(errors='backslashreplace')}", total)
        showing = asyncio.get_running_loop().call_later(PATIENCE, bar.show)
        try:
            yield bar.step
        finally:
            showing.cancel()
            bar.stop()


class _Bar:
    """Counts from the beginning; is there to be seen from `show` on."""

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = total
        self._done = 0
        self._update: Callable[[int], None] = lambda done: None
        self._stop: Callable[[], None] = lambda: None

    def step(self, count: int) -> None:
        self._done += count
        self._update(self._done)

    def show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Rich

        columns = TextColumn("seccomp-drive: {task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn()
        shown = Rich(*columns, console=Console(stderr=True), transient=True)
        task = shown.add_task(self._title, total=self._total, completed=self._done)
        self._update = lambda done: shown.update(task, completed=done)
        self._stop = shown.stop
        shown.start()

    def stop(self) -> None:
        self._stop()
