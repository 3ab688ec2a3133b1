"""Files of a folder store that survive a power loss."""

from __future__ import annotations

import os


class Settle:
    """Makes an object that was put into a folder durable: the file, its directory, and that directory's name.

    obstore writes a file and renames it; it never calls fsync(2).
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._named: set[str] = set()

    def __call__(self, path: str) -> None:
        directory = os.path.dirname(path)
        _sync(f"{self._folder}/{path}")
        _sync(f"{self._folder}/{directory}")
        if directory not in self._named:
            _sync(self._folder)
            self._named.add(directory)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
