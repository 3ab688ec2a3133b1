"""One file loses its content and is a placeholder again: the right size, mode and times, and a hole.

That it is never read as zeros rests on an order. Whoever opens a file has its descriptor before he looks whether the
content is complete. Here it is put on record that it is not before the kernel is asked whether anybody has the file
open. A crash after that leaves a file whose content the next open looks at, or fetches.
"""

from __future__ import annotations

import os
import stat

from msgspec import Struct
from msgspec.structs import replace

from broker.mirror import leases
from broker.mirror.ledger import Ledger
from broker.mirror.nodes import make_hole, reopen
from broker.mirror.shared import Locks
from broker.mirror.threads import on_thread
from broker.mirror.tree import Tree
from broker.mirror.usage import Usage
from broker.remotes.paths import Path


class Store(Struct, frozen=True):
    """What one mirror has on disk, without its remote."""

    tree: Tree
    ledger: Ledger
    locks: Locks
    usage: Usage


async def empty(store: Store, ino: int, path: Path) -> int | None:
    """Take the content of the inode at `path`; the bytes that came free. None if something else is there.

    0 when the content is dirty, or somebody has the file open, locked or in work.
    """
    async with store.locks.attempt(ino) as mine:
        if not mine:
            return 0
        try:
            file = store.tree.open(path, os.O_RDONLY)
        except OSError:
            return None
        try:
            status = os.fstat(file)
            if status.st_ino != ino or not stat.S_ISREG(status.st_mode):
                return None
            record = await store.ledger.get(ino)
            if record is None or record.dirty or not record.hydrated or _in_use(file):
                return 0
            await store.ledger.put(replace(record, hydrated=False))
            if _in_use(file):
                await store.ledger.put(record)
                return 0
            await on_thread(_hollow_out, file)
            return max(0, status.st_blocks - os.fstat(file).st_blocks) * 512
        finally:
            os.close(file)


def _in_use(file: int) -> bool:
    """Whether anybody else has the file open, as whoever has locked it does. Where the file system knows no leases,
    somebody is taken to have."""
    try:
        return leases.is_open(file)
    except OSError:
        return True


def _hollow_out(file: int) -> None:
    target = reopen(file, os.O_WRONLY)
    try:
        status = os.fstat(target)
        make_hole(target, status.st_size, status.st_mtime_ns)
    finally:
        os.close(target)
