"""Reads a tree, from a folder or out of a remote, as values that can be compared."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.remotes.protocol import Attributes, Remote, Version

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Node:
    """One node. `holds` tells the content, target or device; `file` is the same for all names of one file."""

    mode: int
    owner: tuple[int, int] | None
    mtime_ns: int
    holds: str
    attributes: Mapping[bytes, bytes]
    file: object = None


Tree = Mapping[bytes, Node]
"""Nodes by their paths; ``b"."`` is the root."""


def in_folder(root: Path) -> Tree:
    """What a folder of this machine has."""
    return {os.fsencode(path.relative_to(root)): _local(path, os.lstat(path)) for path in walk(root)}


def walk(root: Path) -> Iterable[Path]:
    yield root
    for folder, folders, files in os.walk(root):
        yield from (Path(folder, name) for name in folders + files)


async def in_remote(remote: Remote) -> Tree:
    """What a remote has, asked of it by its protocol."""
    found = {b".": await _distant(remote, b"", await remote.stat(b""))}
    folders = [b""]
    while folders:
        folder = folders.pop()
        async for page in remote.list(folder):
            for entry in page:
                path = folder + b"/" + entry.name if folder else entry.name
                found[path] = await _distant(remote, path, entry.attributes)
                if entry.attributes.is_directory:
                    folders.append(path)
    return found


def _local(path: Path, status: os.stat_result) -> Node:
    content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
    target = os.readlink(os.fsencode(path)) if stat.S_ISLNK(status.st_mode) else b""
    return Node(
        status.st_mode,
        (status.st_uid, status.st_gid),
        status.st_mtime_ns,
        _told(status.st_mode, content, target, status.st_rdev),
        _local_attributes(path),
        (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) and status.st_nlink > 1 else None,
    )


def _local_attributes(path: Path) -> Mapping[bytes, bytes]:
    try:
        names = [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith("user.")]
    except OSError:
        return {}
    return {os.fsencode(name): os.getxattr(path, name, follow_symlinks=False) for name in names}


async def _distant(remote: Remote, path: bytes, attributes: Attributes) -> Node:
    content = await _read(remote, path, attributes.version) if attributes.is_regular else b""
    target = await remote.readlink(path) if attributes.is_symlink else b""
    assert len(content) == attributes.size or not attributes.is_regular, (path, attributes)
    return Node(
        attributes.mode,
        None if attributes.uid is None or attributes.gid is None else (attributes.uid, attributes.gid),
        attributes.mtime_ns,
        _told(attributes.mode, content, target, attributes.rdev),
        await remote.get_xattrs(path) if attributes.is_regular or attributes.is_directory else {},
        attributes.identity if attributes.is_regular and attributes.nlink > 1 else None,
    )


async def _read(remote: Remote, path: bytes, version: Version) -> bytes:
    pieces = bytearray()
    while piece := await remote.read(path, version, len(pieces), _PIECE):
        pieces += piece
    return bytes(pieces)


def _told(mode: int, content: bytes, target: bytes, device: int) -> str:
    if stat.S_ISLNK(mode):
        return f" -> {target!r}"
    if stat.S_ISREG(mode):
        digest = hashlib.sha256(content).hexdigest()[:16]
        return f" {len(content)} bytes {content!r}" if len(content) <= 60 else f" {len(content)} bytes {digest}"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return f" device {device:#x}"
    return ""
