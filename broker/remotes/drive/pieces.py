"""A file on the local disk, cut into the pieces that chunks are made of."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator


def with_data(file: int, size: int, piece: int) -> Iterator[int]:
    """The numbers of the pieces, of `piece` bytes each, that are not wholly holes."""
    number = 0
    while extent := _extent(file, number * piece, size):
        start, end = extent
        first, last = max(start // piece, number), -(-end // piece)
        yield from range(first, last)
        number = max(last, number + 1)


def data_in(file: int, start: int, end: int) -> int:
    """How many of the bytes from `start` to `end` are no holes."""
    found = 0
    while extent := _extent(file, start, end):
        found += extent[1] - extent[0]
        start = extent[1]
    return found


def _extent(file: int, start: int, end: int) -> tuple[int, int] | None:
    """Where the first data from `start` on begins and ends, up to `end` (lseek(2), SEEK_DATA)."""
    if start >= end:
        return None
    try:
        begin = os.lseek(file, start, os.SEEK_DATA)
        return (begin, min(os.lseek(file, begin, os.SEEK_HOLE), end)) if begin < end else None
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but holes up to the end
            return None
        raise


def read_piece(file: int, number: int, piece: int, size: int) -> bytes:
    """The bytes of one piece; zeros where the file has become shorter meanwhile. `file`'s position is left alone."""
    length = min(piece, size - number * piece)
    data = os.pread(file, length, number * piece)
    while len(data) < length:
        more = os.pread(file, length - len(data), number * piece + len(data))
        if not more:
            return data.ljust(length, b"\0")
        data += more
    return data
