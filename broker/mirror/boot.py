"""Starts of the machine: what was written shortly before one may not be on disk."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_ID = Path("/proc/sys/kernel/random/boot_id")


class Boot:
    """The start of the machine that a mirror's sessions know of, noted in its directory."""

    def __init__(self, directory: bytes) -> None:
        self._noted = Path(os.fsdecode(directory), "boot")

    def is_new(self) -> bool:
        """Whether the machine was started since the last `note`."""
        with contextlib.suppress(FileNotFoundError):
            return self._noted.read_bytes() != _ID.read_bytes()
        return True

    def note(self) -> None:
        """What there is to do after a start has been done."""
        self._noted.write_bytes(_ID.read_bytes())
