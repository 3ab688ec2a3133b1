"""Digests of contents: what a file was, so that only what has changed is pushed."""

from __future__ import annotations

import os

from blake3 import blake3

from broker.mirror.threads import SMALL, briefly

CHUNK = 4 << 20
"""Bytes that are read at once."""


def new_digest() -> blake3:
    """An object with `update` and `digest`, of 32 bytes."""
    return blake3()


EMPTY_DIGEST = new_digest().digest()
"""Of no content at all."""


async def digest_of(file: int) -> bytes:
    """The digest of a file's content, read through `file` without moving its position."""
    return await briefly(os.fstat(file).st_size <= SMALL, _digest_of, file)


def _digest_of(file: int) -> bytes:
    digest = new_digest()
    offset = 0
    while data := os.pread(file, CHUNK, offset):
        digest.update(data)
        offset += len(data)
    return digest.digest()
