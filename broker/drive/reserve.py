"""Room that is put by beside a store, so that names can be removed when its disk is full."""

from __future__ import annotations

import contextlib
import os

SIZE = 4 << 20
"""Bytes: the log of a hundred removals, after which it begins anew."""


class Reserve:
    """A file in the folder of an embedded drive, which any of its sessions spends or fills."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, "reserve")

    def fill(self) -> None:
        """If there is room."""
        with contextlib.suppress(OSError):
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, SIZE)
            finally:
                os.close(file)

    def spend(self) -> bool:
        """Free it; whether there was anything."""
        try:
            held = os.stat(self._path).st_blocks > 0
            os.truncate(self._path, 0)
        except OSError:
            return False
        return held
