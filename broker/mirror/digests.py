"""Digests of contents: what a file was, so that only what has changed is pushed."""

from __future__ import annotations

import itertools
import os
import struct
import sys

from blake3 import blake3

from broker.mirror.threads import SMALL, briefly
from broker.remotes.copying import extents

CHUNK = 4 << 20
"""Bytes that are read at once."""


_BLOCK = 1 << 20
_ZEROS = bytes(_BLOCK)
_RUN = struct.Struct(">QQ")
_WITH_ZEROS = "seccomp-drive mirror: content with blocks of zeros"


class Digest:
    """BLAKE3 of a content; of one with whole blocks of zeros, BLAKE3 of the rest and of where these are. So a hole
    need not be read, and is nevertheless the same as zeros that a remote sends."""

    def __init__(self) -> None:
        self._content = blake3()
        self._blocks = 0
        self._zeros: list[tuple[int, int]] = []
        """Runs of blocks: the first, and how many."""
        self._rest = b""
        """After the last whole block."""

    def update(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        whole = len(data) - len(data) % _BLOCK
        for zeros, found in itertools.groupby(range(0, whole, _BLOCK), lambda at: data.startswith(_ZEROS, at)):
            run = list(found)
            if zeros:
                self._skip(len(run))
            else:
                self._content.update(memoryview(data)[run[0] : run[-1] + _BLOCK])
                self._blocks += len(run)
        self._rest = data[whole:]

    def zeros(self, count: int) -> None:
        """The same as to update it with so many zeros."""
        first = min(-len(self._rest) % _BLOCK, count)
        self.update(_ZEROS[:first])
        if count > first:
            self._skip((count - first) // _BLOCK)
            self.update(_ZEROS[: (count - first) % _BLOCK])

    def digest(self) -> bytes:
        """32 bytes."""
        content = self._content.copy()
        content.update(self._rest)
        if not self._zeros:
            return content.digest()
        runs = b"".join(_RUN.pack(*run) for run in self._zeros)
        return blake3(content.digest() + runs, derive_key_context=_WITH_ZEROS).digest()

    def _skip(self, blocks: int) -> None:
        if not blocks:
            return
        first = self._blocks
        self._blocks += blocks
        if self._zeros and sum(self._zeros[-1]) == first:
            first, before = self._zeros.pop()
            blocks += before
        self._zeros.append((first, blocks))


EMPTY_DIGEST = Digest().digest()
"""Of no content at all."""


async def digest_of(file: int) -> bytes:
    """The digest of a file's content, read through `file` without moving its position."""
    status = os.fstat(file)
    return await briefly(status.st_size <= SMALL, _digest_of, file, status)


def _digest_of(file: int, status: os.stat_result) -> bytes:
    digest = Digest()
    if status.st_blocks * 512 >= status.st_size:
        _read(digest, file, 0, sys.maxsize)
        return digest.digest()
    offset = 0
    for start, end in extents(file, status.st_size):
        digest.zeros(start - offset)
        offset = _read(digest, file, start, min(end, status.st_size))
    digest.zeros(max(status.st_size - offset, 0))
    return digest.digest()


def _read(digest: Digest, file: int, offset: int, end: int) -> int:
    """All up to `end`, or to the end of the file where that comes first: where it is."""
    while data := os.pread(file, min(CHUNK, end - offset), offset):
        digest.update(data)
        offset += len(data)
    return offset
