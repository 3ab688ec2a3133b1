"""IN_CLOSE_WRITE by inotify(7): the kernel says when the last writing descriptor or mapping of a file is gone."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator

from broker import linux

_EVENT = struct.Struct("iIII")


class Closings:
    """One inotify instance; watches are on inodes, so they survive renames and removals."""

    def __init__(self) -> None:
        self.file = linux.inotify_init(os.O_NONBLOCK | os.O_CLOEXEC)
        self._inos: dict[int, int] = {}

    def watch(self, file: int, ino: int) -> int:
        """Watch the inode behind a descriptor; the watch's number. The same inode has one watch."""
        watch = linux.inotify_add_watch(self.file, b"/proc/self/fd/%d" % file, linux.IN_CLOSE_WRITE)
        self._inos[watch] = ino
        return watch

    def unwatch(self, watch: int) -> None:
        self._inos.pop(watch, None)
        with contextlib.suppress(OSError):  # it went with its file
            linux.inotify_rm_watch(self.file, watch)

    def take(self) -> Iterator[int | None]:
        """The inode numbers that were closed since the last call; None: some were lost, look at all."""
        while True:
            try:
                data = os.read(self.file, 65536)
            except BlockingIOError:
                return
            offset = 0
            while offset < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size + length
                if mask & linux.IN_Q_OVERFLOW:
                    yield None
                elif mask & linux.IN_CLOSE_WRITE and watch in self._inos:
                    yield self._inos[watch]

    def close(self) -> None:
        os.close(self.file)
