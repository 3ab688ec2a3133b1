"""Work on the local disk: on a thread, or at once where that takes less than to wake one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

FEW = 64
"""Names of one folder that are gone through sooner than a thread wakes."""
SMALL = 64 << 10
"""Bytes that are read, or written, so soon."""


async def on_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Like `asyncio.to_thread`, but a caller who is cancelled waits for the end of `work` nevertheless: it uses
    descriptors that he is about to close, and their numbers would be another file's."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def briefly(brief: bool, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """At once what is `brief`."""
    return work(*args, **kwargs) if brief else await on_thread(work, *args, **kwargs)
