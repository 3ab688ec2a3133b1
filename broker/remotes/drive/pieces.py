"""A file on the local disk, cut into the pieces that chunks are made of."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator


def with_data(file: int, size: int, piece: int) -> Iterator[int]:
    """The numbers of the pieces, of `piece` bytes each, that are not wholly holes (lseek(2), SEEK_DATA)."""
    number = 0
    while number * piece < size:
        try:
            start = os.lseek(file, number * piece, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but holes up to the end
                return
            raise
        end = os.lseek(file, start, os.SEEK_HOLE)
        first, last = max(start // piece, number), -(-min(end, size) // piece)
        yield from range(first, last)
        number = max(last, number + 1)


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
