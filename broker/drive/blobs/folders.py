"""What obstore leaves undone in a folder: fsync(2), and removing what a crash has left half-written."""

from __future__ import annotations

import contextlib
import os
import re
import time

from broker.drive.errors import Unreachable
from broker.linux import syncfs

LEFTOVER_SECONDS = 24 * 3600.0
"""Age from which on nobody can still be writing a file."""

_SETTLED_MOST = 100_000

_LEFTOVER = re.compile(r"[0-9a-f]{32}#[0-9]+\Z")
"""obstore writes ``NAME#NUMBER`` and renames it."""


class Folder:
    """The folder of a store, by its path."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._node = _node(path)
        self._named: set[str] = set()
        self._settled: set[str] = set()
        """Objects, which never change."""

    def require(self) -> None:
        """Unreachable when the folder is not there any more: obstore would make another, away from its database."""
        try:
            moved = _node(self._path) != self._node
        except FileNotFoundError:
            moved = True
        if moved:
            raise Unreachable(f"{self._path} was moved away: put it back, or begin anew where it is now")

    def settle(self, object: str) -> None:
        """Make an object that was put survive a power loss: the file, its directory, and that directory's name."""
        directory = os.path.dirname(object)
        _sync(f"{self._path}/{object}")
        _sync(f"{self._path}/{directory}")
        if directory not in self._named:
            _sync(self._path)
            self._named.add(directory)
        if len(self._settled) >= _SETTLED_MOST:
            self._settled.clear()
        self._settled.add(object)

    def keep(self, object: str) -> None:
        """The same of one that may have been settled since it was put."""
        if object not in self._settled:
            self.settle(object)

    def settle_all(self) -> None:
        """The same of all objects, by syncfs(2)."""
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syncfs(folder)
        finally:
            os.close(folder)

    def sweep(self) -> None:
        """Remove what writers that died have left."""
        before = time.time() - LEFTOVER_SECONDS
        for directory, _, names in os.walk(self._path):
            for name in filter(_LEFTOVER.match, names):
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(f"{directory}/{name}").st_mtime < before:
                        os.unlink(f"{directory}/{name}")


def _node(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
