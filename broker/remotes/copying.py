"""Copies the content of one file into another inside the kernel, holes included."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from broker.remotes.protocol import Step, unseen

CHUNK = 16 << 20
"""Bytes that are copied at once."""
_BLOCK = 512
_NO_COPY_FILE_RANGE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


def copy(source: int, destination: int, step: Step = unseen) -> None:
    """Give the empty file `destination` the content of `source`, from offset 0 to its end. The position of `source`
    stays where it is. `step` hears of each part."""
    status = os.fstat(source)
    if status.st_blocks * _BLOCK >= status.st_size:
        _copy_range(source, destination, 0, status.st_size, step)
        return
    os.ftruncate(destination, status.st_size)
    for start, end in extents(source, status.st_size):
        _copy_range(source, destination, start, end, step)


def extents(source: int, size: int) -> Iterator[tuple[int, int]]:
    """Where `source` has data, as (start, end) in bytes; all of it where the file system cannot tell."""
    try:
        # lseek(2) moves the position, so an open file description of our own is needed.
        own = os.open(f"/proc/self/fd/{source}", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        yield 0, size
        return
    try:
        end = 0
        while end < size:
            start = os.lseek(own, end, os.SEEK_DATA)
            end = os.lseek(own, start, os.SEEK_HOLE)
            yield start, end
    except OSError as error:
        if error.errno == errno.EINVAL:
            yield 0, size
        elif error.errno != errno.ENXIO:
            raise
    finally:
        os.close(own)


def _copy_range(source: int, destination: int, offset: int, end: int, step: Step) -> None:
    """Copy up to `end`, or less when `source` has become shorter meanwhile."""
    copied = -1
    while offset < end and copied:
        count = min(CHUNK, end - offset)
        try:
            copied = os.copy_file_range(source, destination, count, offset, offset)
        except OSError as error:
            if error.errno not in _NO_COPY_FILE_RANGE:
                raise
            os.lseek(destination, offset, os.SEEK_SET)
            copied = os.sendfile(destination, source, offset, count)
        offset += copied
        step(copied)
