"""Digests of contents: what a file was, so that only what has changed is pushed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from blake3 import blake3

_P = ParamSpec("_P")
_T = TypeVar("_T")

CHUNK = 4 << 20
"""Bytes that are read at once."""
SMALL = 64 << 10
"""Bytes that are read, or written, sooner than a thread would wake."""


def new_digest() -> blake3:
    """An object with `update` and `digest`, of 32 bytes."""
    return blake3()


EMPTY_DIGEST = new_digest().digest()
"""Of no content at all."""


async def digest_of(file: int) -> bytes:
    """The digest of a file's content, read through `file` without moving its position."""
    if os.fstat(file).st_size <= SMALL:
        return _digest_of(file)
    return await on_thread(_digest_of, file)


def _digest_of(file: int) -> bytes:
    digest = new_digest()
    offset = 0
    while data := os.pread(file, CHUNK, offset):
        digest.update(data)
        offset += len(data)
    return digest.digest()


async def on_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Like `asyncio.to_thread`, but a caller who is cancelled waits for the end of `work` nevertheless: it uses
    descriptors that he is about to close, and their numbers would be another file's."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
