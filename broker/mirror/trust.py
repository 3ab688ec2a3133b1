"""When the names and listings of a mirror were last found to be the remote's."""

from __future__ import annotations

import math
import time
from typing import Any

from broker.mirror.vouching import Vouch
from broker.remotes.paths import Path, parent_of
from broker.remotes.protocol import Version

_KNOWN_MOST = 100_000
"""Names, and listings, that are remembered; beyond it all are forgotten."""


class Trust:
    """Moments of time.monotonic(). A name is as fresh as its own validation or as the listing of its folder."""

    def __init__(self, ttl: float, vouch: Vouch) -> None:
        """`ttl` in seconds. `vouch` is told of all that is fresh."""
        self.ttl = ttl
        self._vouch = vouch
        self._names: dict[Path, float] = {}
        self._listings: dict[Path, tuple[float, float]] = {}
        """When a folder was listed, and until when that counts."""

    def trusts(self, path: Path, since: float | None = None) -> bool:
        """Whether the name was found to be the remote's since then (default: within the ttl)."""
        if self._names.get(path, -math.inf) >= (time.monotonic() - self.ttl if since is None else since):
            return True
        return bool(path) and self.trusts_listing(parent_of(path), since)

    def trusts_listing(self, path: Path, since: float | None = None) -> bool:
        """The same of a folder's listing."""
        at, until = self._listings.get(path, (-math.inf, -math.inf))
        return until >= time.monotonic() if since is None else at >= since

    def validated(self, path: Path) -> float:
        """When the name itself was, not counting listings; -inf for never."""
        return self._names.get(path, -math.inf)

    def is_listed(self, path: Path) -> bool:
        """Whether the folder was listed at all, and nothing is known to have changed since."""
        return path in self._listings

    def name(self, path: Path, at: float) -> None:
        """The name was the remote's at that moment, or later if that is known already."""
        self._make_room(self._names)
        at = max(at, self._names.get(path, at))
        self._names[path] = at
        self._vouch.name(path, at + self.ttl)

    def witnessed(self, path: Path, ino: int, version: Version | None, state: bytes) -> None:
        """As `Vouch.witnessed`."""
        self._vouch.witnessed(path, ino, version, state)

    def listing(self, path: Path, at: float, took: float = 0.0) -> None:
        """The folder was listed, in `took` seconds. It counts as long as that, if that is more than the ttl: who goes
        through a large folder would have it listed over and over."""
        self._make_room(self._listings)
        until = at + (max(self.ttl, took) if self.ttl else 0.0)
        self._listings[path] = at, until
        self._vouch.listing(path, until)

    def drop_name(self, path: Path) -> None:
        if self._names.pop(path, None) is not None:
            self._vouch.name(path, 0)

    def drop_listing(self, path: Path) -> None:
        if self._listings.pop(path, None) is not None:
            self._vouch.listing(path, 0)

    def forget(self, path: Path) -> None:
        """Trust nothing at or below `path` any more."""
        below = path + b"/"
        for known in (self._names, self._listings):
            for name in [name for name in known if name == path or name.startswith(below)]:
                del known[name]
        self._vouch.forget_names()

    def _make_room(self, known: dict[Path, Any]) -> None:
        if len(known) > _KNOWN_MOST:
            known.clear()
            self._vouch.forget_names()
