"""Judges what readers saw of numbered writes: close-to-open consistency."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One write or read of a register as its program saw it; times in seconds of one clock."""

    machine: str
    who: str
    register: str
    what: str
    number: int
    """Of the write, counted from 1; 0 is what was there at first, -1 what nobody has written."""
    began: float
    ended: float
    text: str = ""


def violations(events: Iterable[Event]) -> list[str]:
    """What no reader may see: each register has one writer, who writes its numbers in their order."""
    found = []
    by_register = sorted(events, key=lambda event: (event.register, event.began))
    for _, group in itertools.groupby(by_register, key=lambda event: event.register):
        several = list(group)
        writes = [event for event in several if event.what == "write"]
        reads = [event for event in several if event.what == "read"]
        found += [wrong for read in reads if (wrong := _misread(read, writes))]
        for machine in sorted({read.machine for read in reads}):
            found += _steps_back([read for read in reads if read.machine == machine])
    return found


def _misread(read: Event, writes: Sequence[Event]) -> str | None:
    """A read that began after the end of a write sees it or a later one, and none that began after it ended."""
    if read.number < 0:
        return f"nobody wrote what was read: {read}"
    least = max((write.number for write in writes if write.ended < read.began), default=0)
    most = max((write.number for write in writes if write.began < read.ended), default=0)
    return None if least <= read.number <= most else f"{least} to {most} expected: {read}"


def _steps_back(reads: Sequence[Event]) -> list[str]:
    """On one machine nobody sees less than what was seen there before."""
    found, seen = [], 0
    ended = sorted(reads, key=lambda read: read.ended)
    done = 0
    for read in sorted(reads, key=lambda read: read.began):
        while done < len(ended) and ended[done].ended < read.began:
            seen = max(seen, ended[done].number)
            done += 1
        if 0 <= read.number < seen:
            found.append(f"{seen} was seen before: {read}")
    return found
