"""`status`, `sync` and a part of `check`: what mirrors hold, what an ended session left behind, and whether remotes
answer."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import time
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, TypeVar

from msgspec import Struct, field

from broker.errors import SetupError
from broker.kernel import native
from broker.mirror import leases
from broker.mirror.eviction import Limits
from broker.remotes.protocol import RemoteError
from broker.remotes.registry import SCHEMES, Factory
from broker.session import mirror_directory, mirrors_of, open_guarded
from broker.settings import MountSettings, Settings
from broker.telling import Once, named, shown, tell

_T = TypeVar("_T")

EX_IOERR = 74
_NAMED = 10
_LATER = "a session that runs pushes its own, otherwise run sync again when the programs have ended"
_CONFLICT = re.compile(rb"\.conflict-.+-\d{8}T\d{6}Z(-\d+)?")


class Pending(Struct, frozen=True):
    """A file that is not pushed yet. Size in bytes; `changed` in seconds since 1970; `open`: it is being written."""

    path: bytes
    size: int
    changed: float
    open: bool


class CacheStatus(Struct, frozen=True):
    """Bytes: of all mirrors, whoever mounts them, and their limit; of the file system that they are on."""

    size: int
    limit: int
    free: int
    keep_free: int


class MirrorStatus(Struct, frozen=True):
    """Bytes on disk, what is not pushed yet, and the paths of the conflict copies that one mirror knows of."""

    size: int = 0
    pending: list[Pending] = field(default_factory=list)
    conflicts: list[bytes] = field(default_factory=list)


def run(command: str, settings: Settings, schemes: Mapping[str, Factory] = SCHEMES) -> int:
    """`status` or `sync`; the exit status."""
    native.end_without_memory(os.EX_OSERR)
    return status(settings) if command == "status" else sync(settings, schemes)


def status(settings: Settings) -> int:
    """Print a table of the mounts, and of what is not where it belongs."""
    from broker.tables import Report

    found = [(mount, status_of(mirror_directory(settings, mount))) for mount in settings.mounts]
    report = Report()
    report.table(
        ("drive", "remote", "local copy", "not pushed", "conflicts"),
        [
            (
                named(mount.prefix),
                mount.remote.url,
                report.size(each.size),
                str(len(each.pending)),
                str(len(each.conflicts)),
            )
            for mount, each in found
        ],
    )
    if cache := cache_of(settings):
        sizes = (cache.size, cache.limit, cache.free, cache.keep_free)
        report.table(
            ("cache", "all copies", "limit", "disk free", "to be left free"),
            [(shown(os.fsencode(settings.cache_directory)), *map(report.size, sizes))],
        )
    now = time.time()
    report.table(
        ("not pushed yet", "size", "changed", "state"),
        [
            (named(mount.prefix, file.path), report.size(file.size), report.age(now - file.changed), _state(file))
            for mount, each in found
            for file in each.pending
        ],
    )
    report.table(
        ("conflict copies",),
        [(named(mount.prefix, path),) for mount, each in found for path in sorted(each.conflicts)],
    )
    return 0


def sync(settings: Settings, schemes: Mapping[str, Factory] = SCHEMES) -> int:
    """Push what is on record as dirty; 0, or 74 when something could not be pushed."""
    try:
        pending, busy = _complete(_sync(settings, schemes))
    except SetupError as error:
        tell(str(error))
        return 125
    for path in pending:
        tell(f"not pushed: {path}")
    if busy:
        more = f" and {len(busy) - _NAMED} more" if len(busy) > _NAMED else ""
        tell(f"still open for writing, so not pushed: {', '.join(busy[:_NAMED])}{more}; {_LATER}")
    if not pending and not busy:
        print("everything is pushed")
    return EX_IOERR if pending else 0


def unreachable(mount: MountSettings, schemes: Mapping[str, Factory] = SCHEMES) -> str | None:
    """Why the remote of a mount cannot be used; None if it answers."""

    async def ask() -> None:
        remote = await open_guarded(mount, lambda error: None, schemes)
        try:
            await remote.stat(b"")
        finally:
            await remote.close()

    try:
        _complete(ask())
    except RemoteError as error:
        return f"{error.detail or type(error).__name__}; check the remote and your access to it"
    except SetupError as error:
        return str(error)
    return None


def status_of(directory: str) -> MirrorStatus:
    """What is known of a mirror, without its remote; nothing for one that does not exist."""
    dirty = _dirty(os.path.join(directory, "ledger.sqlite"))
    found = MirrorStatus(sum(file.st_blocks * 512 for _, file in _files(directory)))
    for path, file in _files(directory):
        if file.st_ino in dirty:
            found.pending.append(Pending(path, file.st_size, file.st_mtime, _is_open(directory, path)))
        if _CONFLICT.search(path.rpartition(b"/")[2]):
            found.conflicts.append(path)
    found.pending.sort(key=lambda pending: pending.changed)
    return found


def cache_of(settings: Settings) -> CacheStatus | None:
    """What the cache holds and may hold; None if there is none yet."""
    mirrors = os.path.join(settings.cache_directory, "mirrors")
    try:
        disk = os.statvfs(mirrors)
        size = sum(file.st_blocks * 512 for name in os.listdir(mirrors) for _, file in _files(f"{mirrors}/{name}"))
    except FileNotFoundError:
        return None
    keep_free = Limits(settings.cache_limit, settings.keep_free).kept_free(disk.f_blocks * disk.f_frsize)
    return CacheStatus(size, settings.cache_limit, disk.f_bavail * disk.f_frsize, keep_free)


def _complete(work: Coroutine[Any, Any, _T]) -> _T:
    """As asyncio.run(), which would wait at its end for threads that hang in a remote."""
    return asyncio.new_event_loop().run_until_complete(work)


async def _sync(settings: Settings, schemes: Mapping[str, Factory]) -> tuple[list[str], list[str]]:
    """What could not be pushed, and what was left to those who still write to it."""
    pending, busy = [], []
    async with mirrors_of(settings, Once(), schemes) as mirrors:
        for number, mirror in mirrors.items():
            mount = settings.mounts[number]
            pending += [named(mount.prefix, path) for path in await mirror.recovery.recover()]
            busy += [named(mount.prefix, path) for path in sorted(mirror.writeback.left_open)]
    return pending, busy


def _dirty(ledger: str) -> set[int]:
    if not os.path.exists(ledger):
        return set()
    database = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=60)
    try:
        return {ino for (ino,) in database.execute("SELECT ino FROM node WHERE dirty")}
    finally:
        database.close()


def _files(directory: str) -> Iterator[tuple[bytes, os.stat_result]]:
    """All in the mirror's tree but folders, by their path in it."""
    tree = os.fsencode(os.path.join(directory, "tree"))
    for folder, _, names in os.walk(tree):
        for name in names:
            try:
                yield os.path.relpath(os.path.join(folder, name), tree), os.lstat(os.path.join(folder, name))
            except FileNotFoundError:
                continue


def _is_open(directory: str, path: bytes) -> bool:
    """Whether somebody can still write to it; where we may not look, nobody is taken to."""
    try:
        file = os.open(
            os.path.join(os.fsencode(directory), b"tree", path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
        )
    except OSError:
        return False
    try:
        return leases.has_writer(file)
    finally:
        os.close(file)


def _state(file: Pending) -> str:
    return "being written" if file.open else "waiting"
