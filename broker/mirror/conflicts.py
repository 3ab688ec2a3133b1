"""Conflicts: the remote has another version than the one that a push was based on."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Collection

from broker.mirror.digests import CHUNK, Digest
from broker.remotes.paths import NAME_MAX, Path, join, parent_of
from broker.remotes.protocol import (
    AlreadyExists,
    Attributes,
    Changes,
    NotADirectory,
    NotFound,
    Remote,
    Unavailable,
    VersionChanged,
)

_SERIALS = 1000
"""Conflict names of one second that are tried."""

Fingerprint = tuple[int, bytes]
"""Size in bytes and digest of a content."""


async def arrived(remote: Remote, path: Path, ours: Collection[Fingerprint]) -> tuple[Attributes, Fingerprint] | None:
    """What the remote has at `path` if that is a content of ours already: an earlier push whose answer was lost."""
    try:
        attributes = await remote.stat(path)
        size = attributes.size
        if not attributes.is_regular or size not in {each for each, _ in ours}:
            return None
        theirs, offset = Digest(), 0
        while offset < size:
            data = await remote.read(path, attributes.version, offset, min(CHUNK, size - offset))
            if not data:
                return None
            theirs.update(data)
            offset += len(data)
    except (NotFound, NotADirectory, VersionChanged):
        return None
    found = size, theirs.digest()
    return (attributes, found) if found in ours else None


async def write_beside(remote: Remote, path: Path, file: int, changes: Changes) -> tuple[Path, Attributes]:
    """Keep the content of `file` on the remote under the first conflict name that is free, which is returned.

    The folder that it was in is made anew if somebody has removed it.
    """
    moment = time.gmtime()
    for serial in range(_SERIALS):
        beside = conflict_name(path, socket.gethostname(), moment, serial)
        with contextlib.suppress(AlreadyExists):
            try:
                return beside, await remote.write(beside, file, None, changes)
            except NotFound:
                await _make_folders(remote, parent_of(path))
                return beside, await remote.write(beside, file, None, changes)
    raise Unavailable(path, "the remote has no free name for a conflict copy")


async def _make_folders(remote: Remote, path: Path) -> None:
    """Make a folder that was removed, and those above it."""
    names = path.split(b"/")
    for count in range(1, len(names) + 1):
        with contextlib.suppress(AlreadyExists):
            await remote.mkdir(b"/".join(names[:count]), Changes(mode=0o700))


def conflict_name(path: Path, host: str, moment: time.struct_time, serial: int = 0) -> Path:
    """``NAME.conflict-HOST-TIME[-SERIAL]`` beside `path`, cut so that the name stays within NAME_MAX."""
    mark = b".conflict-%s-%s" % (host.encode()[:64], time.strftime("%Y%m%dT%H%M%SZ", moment).encode())
    if serial:
        mark += b"-%d" % serial
    name = path.rpartition(b"/")[2]
    return join(parent_of(path), name[: NAME_MAX - len(mark)] + mark)
