"""What was looked up a moment ago: a change based on it need not ask again, as the store checks it."""

from __future__ import annotations

import time
from typing import TypeVar

from broker.remotes.drive.places import Held, Place
from broker.remotes.paths import Path, parent_of

_T = TypeVar("_T")

_TRUSTED = 1.0
"""Seconds: that a folder on the way has got another name since is noticed after it."""
_MOST = 1000


class Recent:
    """Of one tree. Whoever changes names himself clears it."""

    def __init__(self) -> None:
        self._places: dict[Path, tuple[float, Place]] = {}
        self._folders: dict[Path, tuple[float, tuple[Held, ...]]] = {}

    def get(self, path: Path) -> Place | None:
        return _fresh(self._places.get(path))

    def folder(self, path: Path) -> tuple[Held, ...] | None:
        """The folder at `path` behind all that it is in, from the root on, if something in it was looked up."""
        return _fresh(self._folders.get(path))

    def put(self, place: Place) -> None:
        """What a change of our own has made of a place: that says nothing new of the folders on the way."""
        if len(self._places) >= _MOST:
            self._places.clear()
        self._places[place.path] = time.monotonic(), place

    def looked_up(self, place: Place) -> None:
        self.put(place)
        if len(self._folders) >= _MOST:
            self._folders.clear()
        if place.above:
            self._folders[parent_of(place.path)] = time.monotonic(), place.above

    def clear(self) -> None:
        self._places.clear()
        self._folders.clear()


def _fresh(found: tuple[float, _T] | None) -> _T | None:
    return found[1] if found and time.monotonic() - found[0] < _TRUSTED else None
