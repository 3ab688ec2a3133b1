"""Lines on the terminal for what takes long."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from broker.remotes.protocol import Step, unseen
from broker.telling import named, plain, tell

if TYPE_CHECKING:
    from rich.progress import Progress as Rich
    from rich.progress import TaskID

PATIENCE = 1.0
"""Seconds before something is shown."""
_LINES = 4
"""Shown at once, at most."""


class Display:
    """A line for each thing that takes long, on stderr where that is a terminal; rich is loaded for the first."""

    def __init__(self) -> None:
        self._rich: Rich | None = None
        self._lines = 0

    @contextlib.contextmanager
    def line(self, title: str, total: int | None, amount: Callable[[], str]) -> Iterator[Step]:
        """`amount` says how far it is, whenever the line is drawn; step through `total`, if that is known."""
        if not os.isatty(2):
            yield unseen
            return
        line = _Line(self, title, total, amount)
        showing = asyncio.get_running_loop().call_later(PATIENCE, line.show)
        try:
            yield line.step
        finally:
            showing.cancel()
            line.remove()

    def tell(self, message: str) -> None:
        """A message for the user, above the lines that are shown."""
        if self._rich is None:
            tell(message)
        else:
            self._rich.console.print(
                f"seccomp-drive: {plain(message)}", markup=False, highlight=False, soft_wrap=True
            )

    def add(self, title: str, total: int | None, done: int, amount: Callable[[], str]) -> tuple[Rich, TaskID] | None:
        if self._lines == _LINES:
            return None
        self._lines += 1
        if self._rich is None:
            self._rich = _rich()
            self._rich.start()
        return self._rich, self._rich.add_task(title, total=total, completed=done, amount=amount)

    def remove(self, task: TaskID) -> None:
        assert self._rich is not None
        self._rich.remove_task(task)
        self._lines -= 1
        if not self._lines:
            self._rich.stop()
            self._rich = None


class _Line:
    """Counts from the beginning; is there to be seen from `show` on."""

    def __init__(self, display: Display, title: str, total: int | None, amount: Callable[[], str]) -> None:
        self._display = display
        self._title = title
        self._total = total
        self._amount = amount
        self._done = 0
        self._shown: tuple[Rich, TaskID] | None = None

    def step(self, count: int) -> None:
        """From any thread."""
        self._done += count
        if self._shown is not None:
            rich, task = self._shown
            rich.update(task, completed=self._done)

    def show(self) -> None:
        self._shown = self._display.add(self._title, self._total, self._done, self._amount)

    def remove(self) -> None:
        if self._shown is not None:
            shown, self._shown = self._shown, None
            self._display.remove(shown[1])


class Progress:
    """The transfers of one mount."""

    def __init__(self, prefix: bytes, display: Display | None = None) -> None:
        self._prefix = prefix
        self._display = display or Display()

    @contextlib.contextmanager
    def transfer(self, what: str, path: bytes, total: int) -> Iterator[Step]:
        """`what` is "fetching" or "pushing"; call the result with the count of bytes that are through."""
        done = 0

        def moved(count: int) -> None:
            nonlocal done
            done += count
            step(count)

        title = f"{what} {named(self._prefix, path)}"
        with self._display.line(title, total, lambda: f"{_bytes(done)} of {_bytes(total)}") as step:
            yield moved


def _bytes(count: int) -> str:
    from rich.filesize import decimal

    return decimal(count)


def _rich() -> Rich:
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Rich
    from rich.text import Text

    class Amount(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(task.fields["amount"]())

    columns = (
        TextColumn("seccomp-drive: {task.description}", markup=False),
        BarColumn(),
        Amount(),
        TimeElapsedColumn(),
    )
    return Rich(*columns, console=Console(stderr=True), transient=True)
