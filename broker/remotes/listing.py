"""Reads a folder page by page, from whichever worker thread has time."""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from itertools import islice

from broker.remotes.nodes import TEMPORARY, attributes_of
from broker.remotes.paths import valid_name, valid_target
from broker.remotes.protocol import Attributes, Entry

LOG = logging.getLogger(__name__)

_STALE = 24 * 3600
"""Seconds after which an unfinished write is what a crash left behind."""


class Listing:
    """One reading of a folder. Nothing is opened before the first page; `close` waits for a page on its way."""

    def __init__(self, open_folder: Callable[[], int], hidden: Collection[bytes] = ()) -> None:
        """The `hidden` names are left out."""
        self._open_folder = open_folder
        self._hidden = hidden
        self._lock = threading.Lock()
        self._entries: Iterator[Entry] | None = None
        self._folder = -1
        self._closed = False

    def page(self, size: int) -> list[Entry]:
        """The next entries, at most `size`; empty at the end."""
        with self._lock:
            if self._closed:
                return []
            if self._entries is None:
                self._folder = self._open_folder()
                self._entries = _read(self._folder, self._hidden)
            return list(islice(self._entries, size))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._entries = None
            if self._folder >= 0:
                os.close(self._folder)
                self._folder = -1


def _read(folder: int, hidden: Collection[bytes]) -> Iterator[Entry]:
    """All that is in `folder` and can be shown; what vanishes meanwhile is left out."""
    with os.scandir(folder) as entries:
        for found in entries:
            name = os.fsencode(found.name)
            try:
                status = found.stat(follow_symlinks=False)
                if TEMPORARY.fullmatch(name):
                    _remove_if_stale(folder, name, status)
                elif name in hidden:
                    continue
                elif valid_name(name):
                    yield Entry(name, _attributes(folder, name, status))
                else:
                    LOG.warning("left out of a listing: %r is no name", name)
            except FileNotFoundError:
                continue


def _attributes(folder: int, name: bytes, status: os.stat_result) -> Attributes:
    if not stat.S_ISLNK(status.st_mode):
        return attributes_of(status)
    try:
        target = os.readlink(name, dir_fd=folder)
    except OSError:  # no longer a symlink: the version that was seen first is the one that counts
        return attributes_of(status)
    return attributes_of(status, target if valid_target(target) else None)


def _remove_if_stale(folder: int, name: bytes, status: os.stat_result) -> None:
    # ctime, because a push sets mtime to that of the file it is going to be.
    if stat.S_ISREG(status.st_mode) and time.time() - status.st_ctime > _STALE:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
