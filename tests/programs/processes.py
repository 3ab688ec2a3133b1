"""Finds and ends the processes of one scenario, by a mark in their environment."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

MARK = "SCENARIO"
"""The environment variable that every process of a scenario inherits; its value is the scenario's folder."""


def of(base: Path) -> dict[int, str]:
    """The living processes of the scenario at `base`: pid → command line."""
    found = {}
    wanted = f"{MARK}={base}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(entry.name)] = command.decode(errors="replace").strip()
            except OSError:
                continue
    found.pop(os.getpid(), None)
    return found


def gone(base: Path, seconds: float) -> dict[int, str]:
    """Wait until the scenario has no process left; those that remain after `seconds`."""
    deadline = time.monotonic() + seconds
    while (left := of(base)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def end(base: Path) -> None:
    """Kill what is left of the scenario."""
    for _ in range(50):
        left = of(base)
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)
