"""Places that were looked up a moment ago: a change based on one need not ask again, as the store checks it."""

from __future__ import annotations

import time

from broker.remotes.drive.places import Place
from broker.remotes.paths import Path

_TRUSTED = 1.0
"""Seconds: that a folder on the way has got another name since is noticed after it."""
_MOST = 1000


class Recent:
    """Of one tree. Whoever changes names himself clears it."""

    def __init__(self) -> None:
        self._places: dict[Path, tuple[float, Place]] = {}

    def get(self, path: Path) -> Place | None:
        found = self._places.get(path)
        return found[1] if found and time.monotonic() - found[0] < _TRUSTED else None

    def put(self, place: Place) -> None:
        if len(self._places) >= _MOST:
            self._places.clear()
        self._places[place.path] = time.monotonic(), place

    def clear(self) -> None:
        self._places.clear()
