"""`status` and `sync`: what the mirrors hold, and pushing what an ended session left behind."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from broker.errors import SetupError
from broker.session import mirror_directory, mirrors_of
from broker.settings import MountSettings, Settings
from broker.telling import Once, tell

EX_IOERR = 74


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    """Bytes on disk, dirty nodes on record and conflict copies of one mirror."""

    size: int
    dirty: int
    conflicts: int


def status(settings: Settings) -> int:
    """Print a line for each mount."""
    for mount in settings.mounts:
        found = status_of(mirror_directory(settings, mount))
        print(f"{_shown(mount)}: {found.size} bytes, {found.dirty} dirty, {found.conflicts} conflicts")
    return 0


def sync(settings: Settings) -> int:
    """Push what is on record as dirty; 0, or 74 when something could not be pushed."""
    try:
        pending = asyncio.run(_sync(settings))
    except SetupError as error:
        tell(str(error))
        return 125
    for path in pending:
        tell(f"not pushed: {path}")
    return EX_IOERR if pending else 0


def status_of(directory: str) -> MirrorStatus:
    """What is known of a mirror, without its remote; all zero for one that does not exist."""
    size = conflicts = 0
    for name, blocks in _files(os.path.join(directory, "tree")):
        size += blocks * 512
        conflicts += ".conflict-" in name
    ledger = os.path.join(directory, "ledger.sqlite")
    if not os.path.exists(ledger):
        return MirrorStatus(size, 0, conflicts)
    database = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=60)
    try:
        (dirty,) = database.execute("SELECT count(*) FROM node WHERE dirty").fetchone()
    finally:
        database.close()
    return MirrorStatus(size, dirty, conflicts)


async def _sync(settings: Settings) -> list[str]:
    pending = []
    async with mirrors_of(settings, Once()) as mirrors:
        for number, mirror in mirrors.items():
            left = await mirror.writeback.recover()
            pending += [f"{_shown(settings.mounts[number])}/{os.fsdecode(path)}" for path in left]
    return pending


def _files(directory: str) -> Iterator[tuple[str, int]]:
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                yield name, os.lstat(os.path.join(folder, name)).st_blocks
            except FileNotFoundError:
                continue


def _shown(mount: MountSettings) -> str:
    return mount.prefix.decode(errors="backslashreplace")
