"""The folder of a `file:` remote, and the one that takes its place when it was removed."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

from broker.remotes.paths import Path
from broker.remotes.protocol import Unavailable


class Root:
    """A descriptor of the folder, which is closed with the last reference to this object: a request that hangs may
    outlive the remote."""

    def __init__(self, file: int, reopen: Callable[[], int]) -> None:
        """Takes `file` over; `reopen` opens the folder that is in its place later, or raises OSError."""
        self._files = [file]
        self._counted = os.fstat(file).st_nlink > 0
        """Not every file system counts a folder's links."""
        self._reopen = reopen
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._files)

    def file(self, path: Path) -> int:
        """The folder that is there now. Unavailable, about `path`, when it was removed: of that nothing can be said,
        and least of all that it has no such name."""
        file = self._files[-1]
        if not self._counted or os.fstat(file).st_nlink:
            return file
        with self._lock:
            if file == self._files[-1]:  # others may be at work on it, so that it stays open
                try:
                    self._files.append(self._reopen())
                except OSError as error:
                    raise Unavailable(path, "the folder of the remote was removed") from error
            return self._files[-1]


def _close(files: list[int]) -> None:
    for file in files:
        os.close(file)
