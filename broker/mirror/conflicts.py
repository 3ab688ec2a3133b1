"""Conflicts: the remote has another version than the one that a push was based on."""

from __future__ import annotations

import hashlib
import itertools
import socket
import time

from broker.mirror.content import CHUNK
from broker.mirror.placing import join, parent_of
from broker.remotes.protocol import (
    NAME_MAX,
    AlreadyExists,
    Attributes,
    Changes,
    NotADirectory,
    NotFound,
    Path,
    Remote,
    VersionChanged,
)


async def arrived(remote: Remote, path: Path, size: int, digest: bytes) -> Attributes | None:
    """What the remote has at `path` if that is our content already: an earlier push whose answer was lost."""
    try:
        attributes = await remote.stat(path)
        if not attributes.is_regular or attributes.size != size:
            return None
        theirs, offset = hashlib.blake2b(digest_size=32), 0
        while offset < size:
            data = await remote.read(path, attributes.version, offset, min(CHUNK, size - offset))
            if not data:
                return None
            theirs.update(data)
            offset += len(data)
    except (NotFound, NotADirectory, VersionChanged):
        return None
    return attributes if theirs.digest() == digest else None


async def write_beside(remote: Remote, path: Path, file: int, changes: Changes) -> tuple[Path, Attributes]:
    """Keep the content of `file` on the remote under the first conflict name that is free, which is returned."""
    moment = time.gmtime()
    for serial in itertools.count():
        beside = conflict_name(path, socket.gethostname(), moment, serial)
        try:
            return beside, await remote.write(beside, file, None, changes)
        except AlreadyExists:
            continue
    raise AssertionError("the numbers do not end")


def conflict_name(path: Path, host: str, moment: time.struct_time, serial: int = 0) -> Path:
    """``NAME.conflict-HOST-TIME[-SERIAL]`` beside `path`, cut so that the name stays within NAME_MAX."""
    mark = b".conflict-%s-%s" % (host.encode()[:64], time.strftime("%Y%m%dT%H%M%SZ", moment).encode())
    if serial:
        mark += b"-%d" % serial
    name = path.rpartition(b"/")[2]
    return join(parent_of(path), name[: NAME_MAX - len(mark)] + mark)
