"""How long a remote may keep a call waiting without a sign of progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Generator, Sequence
from typing import Any, Generic, TypeVar

from broker.remotes.around import Around
from broker.remotes.paths import Path
from broker.remotes.protocol import Attributes, Changes, Entry, Remote, Step, TimedOut, Version, unseen

_T = TypeVar("_T")

_FIRST_READ = 1024
"""Bytes a second that the first read counts on. Later ones ask for more, as long as the remote is quick."""
_READ_MAX = 4 << 20
_GROWTH = 4
_QUICK = 1 / 16
"""Of the time that is allowed: a read that took less may be longer the next time."""


class Timed(Around):
    """`remote`, whose calls are TimedOut after `seconds` in which nothing moved: no answer, no page of a listing, no
    part of a content. A slow remote that moves may take as long as it likes.
    """

    def __init__(self, remote: Remote, seconds: float) -> None:
        super().__init__(remote)
        self._seconds = seconds
        self._length = max(1, min(_READ_MAX, int(seconds * _FIRST_READ)))

    async def list(self, path: Path) -> AsyncIterator[Sequence[Entry]]:
        pages = aiter(super().list(path))
        while (page := await self._pass(path, _next(pages))) is not None:
            yield page

    async def read(self, path: Path, version: Version, offset: int, length: int) -> bytes:
        """At most so much at once as the remote can send in time: of a part that does not come in time, nothing has
        come at all."""
        asked = min(length, self._length)
        began = time.monotonic()
        data = await self._pass(path, super().read(path, version, offset, asked))
        if asked == self._length and time.monotonic() - began < self._seconds * _QUICK:
            self._length = min(self._length * _GROWTH, _READ_MAX)
        return data

    async def write(
        self,
        path: Path,
        source: int,
        base: Version | None,
        changes: Changes,
        *,
        durable: bool = True,
        step: Step = unseen,
    ) -> Attributes:
        def moved(count: int) -> None:
            waiting.moved()
            step(count)

        work = super().write(path, source, base, changes, durable=durable, step=moved)
        waiting = _Waiting(path, work, self._seconds)
        return await waiting

    async def close(self) -> None:
        await self._pass(b"", super().close())

    async def _pass(self, path: Path, work: Coroutine[Any, Any, _T]) -> _T:
        return await _Waiting(path, work, self._seconds)


class _Waiting(Generic[_T]):
    """Awaits `work`, and cancels it when nothing has moved for so long.

    asyncio.timeout() needs a task, which a call that has not waited yet does not have.
    """

    __slots__ = ("_awaited", "_expired", "_moved", "_path", "_seconds", "_timer", "_work")

    def __init__(self, path: Path, work: Coroutine[Any, Any, _T], seconds: float) -> None:
        self._path = path
        self._work = work
        self._seconds = seconds
        self._moved = 0.0
        self._expired = False
        self._awaited: asyncio.Future[Any] | None = None

    def moved(self) -> None:
        """From any thread."""
        self._moved = time.monotonic()

    def __await__(self) -> Generator[Any, Any, _T]:
        try:
            self._awaited = self._work.send(None)
        except StopIteration as done:
            result: _T = done.value
            return result
        self.moved()
        self._arm(self._seconds)
        try:
            return (yield from self._rest())
        except asyncio.CancelledError:
            if not self._expired:
                raise
            raise TimedOut(self._path, f"the remote has not moved for {self._seconds:g} s") from None
        finally:
            self._timer.cancel()

    def _rest(self) -> Generator[Any, Any, _T]:
        while True:
            try:
                try:
                    yield self._awaited
                except BaseException as error:
                    self._awaited = self._work.throw(error)
                else:
                    self._awaited = (
                        self._work.throw(asyncio.CancelledError()) if self._expired else self._work.send(None)
                    )
            except StopIteration as done:
                result: _T = done.value
                return result

    def _arm(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        left = self._moved + self._seconds - time.monotonic()
        if left > 0:
            self._arm(left)
            return
        self._expired = True
        if self._awaited is not None:
            self._awaited.cancel()


async def _next(pages: AsyncIterator[Sequence[Entry]]) -> Sequence[Entry] | None:
    return await anext(pages, None)
