"""Starting a coroutine at once: a call that need not wait costs no task (eager tasks, before Python 3.12)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


def start(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Run `coroutine` up to its first wait; the task that does the rest, or None if it has ended.

    Until that wait it has no current task: it may not use asyncio.timeout(). Its exceptions are the caller's.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        return None
    return asyncio.ensure_future(_Rest(coroutine, awaited))


class _Rest(Coroutine[Any, Any, None]):
    """The coroutine after its first wait. A generator would not pass on a cancellation before its first step."""

    __slots__ = ("_awaited", "_begun", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._coroutine = coroutine
        self._awaited = awaited
        self._begun = False

    def send(self, value: Any) -> Any:
        if self._begun:
            return self._coroutine.send(value)
        self._begun = True
        awaited, self._awaited = self._awaited, None
        return awaited

    def throw(self, *error: Any) -> Any:
        """As Task.cancel() does to a task that waits: the future is cancelled, which wakes the coroutine."""
        if not self._begun and self._awaited is not None and self._awaited.cancel():
            return self.send(None)
        self._begun = True
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._coroutine.__await__()
