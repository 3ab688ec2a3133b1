"""Asking ahead: what comes next is on its way while something is made of what has come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TypeVar

_T = TypeVar("_T")


@contextlib.asynccontextmanager
async def ahead(items: AsyncIterator[_T]) -> AsyncIterator[AsyncIterator[_T]]:
    """The same items, one of them asked for before its turn. None is asked for any more when the context ends."""
    coming = asyncio.ensure_future(_next(items))

    async def each() -> AsyncIterator[_T]:
        nonlocal coming
        while item := await coming:
            coming = asyncio.ensure_future(_next(items))
            yield item[0]

    try:
        yield each()
    finally:
        coming.cancel()
        await asyncio.wait([coming])
        coming.cancelled() or coming.exception()  # which nobody is there for any more


async def _next(items: AsyncIterator[_T]) -> tuple[_T] | None:
    async for item in items:
        return (item,)
    return None
