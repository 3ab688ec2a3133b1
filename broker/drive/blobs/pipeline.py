"""Work on many pieces, a bounded number at once, with the results in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


async def in_order(
    items: Iterable[_Item], work: Callable[[_Item], Awaitable[_Result]], *, ahead: int
) -> AsyncGenerator[_Result, None]:
    """`work` of every item, in the items' order. At most `ahead` are under way or waiting to be taken: so much and
    no more is in memory. The first that fails ends all; so does leaving (by `contextlib.aclosing`)."""
    waiting: deque[asyncio.Future[_Result]] = deque()
    rest = iter(items)
    try:
        for item in rest:
            waiting.append(asyncio.ensure_future(work(item)))
            if len(waiting) >= ahead:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
