"""Brings a folder of this machine into a remote by its protocol, with all that the remote keeps."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from broker.remotes.protocol import Attributes, Changes, Remote

from .nodes import walk


async def pour(folder: Path, remote: Remote) -> None:
    """Make what is in `folder` in the remote, which is empty, its root's attributes included."""
    named: dict[tuple[int, int], bytes] = {}
    folders: list[tuple[bytes, Changes]] = []
    for path in walk(folder):
        status = path.lstat()
        name = b"" if path == folder else os.fsencode(path.relative_to(folder))
        changes = _changes(remote, status)
        if stat.S_ISDIR(status.st_mode):
            folders.append((name, changes))
            if name:
                await remote.mkdir(name, changes)
        elif (first := named.setdefault((status.st_dev, status.st_ino), name)) != name:
            await remote.link(first, name)
        else:
            await _make(path, status, remote, name, changes)
        if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
            for attribute in os.listxattr(path):
                if attribute.startswith("user."):
                    await remote.set_xattr(name, os.fsencode(attribute), os.getxattr(path, attribute))
    for name, changes in reversed(folders):
        await remote.set_attributes(name, changes)  # what was made in it has changed its time


async def _make(path: Path, status: os.stat_result, remote: Remote, name: bytes, changes: Changes) -> Attributes:
    if stat.S_ISLNK(status.st_mode):
        return await remote.symlink(name, os.readlink(os.fsencode(path)), changes)
    if not stat.S_ISREG(status.st_mode):
        return await remote.mknod(name, status.st_mode, status.st_rdev, changes)
    with path.open("rb") as file:
        return await remote.write(name, file.fileno(), None, changes, durable=False)


def _changes(remote: Remote, status: os.stat_result) -> Changes:
    owners = (status.st_uid, status.st_gid) if remote.capabilities.owners else (None, None)
    return Changes(stat.S_IMODE(status.st_mode), *owners, status.st_mtime_ns, status.st_atime_ns)
