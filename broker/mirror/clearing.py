"""Copies of which nothing is known are removed when the record of them is lost: they are on no list to evict."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import Iterable

from broker.mirror.ledger import Ledger
from broker.mirror.shared import Locks
from broker.mirror.tree import GONE, Tree
from broker.remotes.paths import Path, join


async def clear(tree: Tree, ledger: Ledger, locks: Locks) -> int:
    """Remove all but folders and what is on record; how many. They are made anew when they are looked for."""
    cleared = 0
    for folder in await asyncio.to_thread(_folders, tree):
        # Nobody else makes files there meanwhile; where a session that has begun since does, they are left.
        async with locks.filling(folder) as mine:
            if mine:
                found = await asyncio.to_thread(_files, tree, folder)
                known = await ledger.get_many(found.values())
                unknown = [path for path, ino in found.items() if ino not in known]
                await asyncio.to_thread(_remove, tree, unknown)
                cleared += len(unknown)
    return cleared


def _folders(tree: Tree) -> list[Path]:
    return [b"", *(path for path, status in tree.walk() if stat.S_ISDIR(status.st_mode))]


def _files(tree: Tree, folder: Path) -> dict[Path, int]:
    """What is no folder in that one, with its inode number."""
    with contextlib.suppress(*GONE, PermissionError):
        found = {path: tree.lstat(path) for path in (join(folder, name) for name in tree.names(folder))}
        return {path: status.st_ino for path, status in found.items() if status and not stat.S_ISDIR(status.st_mode)}
    return {}


def _remove(tree: Tree, paths: Iterable[Path]) -> None:
    for path in paths:
        tree.remove(path)
