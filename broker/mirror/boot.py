"""Starts of the machine: what was written shortly before one may not be on disk."""

from __future__ import annotations

import contextlib
import os

_ID = b"/proc/sys/kernel/random/boot_id"


class Boot:
    """The start of the machine that a mirror's sessions know of, noted in its directory."""

    def __init__(self, directory: bytes) -> None:
        self._noted = os.path.join(directory, b"boot")

    def is_new(self) -> bool:
        """Whether the machine was started since the last `note`."""
        with contextlib.suppress(FileNotFoundError):
            return _content(self._noted) != _content(_ID)
        return True

    def note(self) -> None:
        """What there is to do after a start has been done."""
        with open(self._noted, "wb") as file:
            file.write(_content(_ID))


def _content(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()
