"""IN_CLOSE_WRITE by inotify(7): the kernel says when the last writing descriptor or mapping of a file is gone."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator

_IN_CLOSE_WRITE = 0x8
_IN_Q_OVERFLOW = 0x4000
_EVENT = struct.Struct("iIII")


class Closings:
    """One inotify instance; watches are on inodes, so they survive renames and removals."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.file = self._check(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._inos: dict[int, int] = {}

    def watch(self, file: int, ino: int) -> int:
        """Watch the inode behind a descriptor; the watch's number. The same inode has one watch."""
        path = b"/proc/self/fd/%d" % file
        watch = self._check(self._libc.inotify_add_watch(self.file, path, _IN_CLOSE_WRITE))
        self._inos[watch] = ino
        return watch

    def unwatch(self, watch: int) -> None:
        self._inos.pop(watch, None)
        self._libc.inotify_rm_watch(self.file, watch)

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
                if mask & _IN_Q_OVERFLOW:
                    yield None
                elif mask & _IN_CLOSE_WRITE and watch in self._inos:
                    yield self._inos[watch]

    def close(self) -> None:
        os.close(self.file)

    @staticmethod
    def _check(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
