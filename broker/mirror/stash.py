"""What a call is about to remove is kept outside the tree until the remote has agreed: it may be the only copy."""

from __future__ import annotations

import contextlib
import os
import stat

from broker.mirror import leases
from broker.mirror.tree import Tree
from broker.remotes.paths import Path

_KEPT, _OF = b"kept-", b"-of"


class Stash:
    """Second names of nodes of one tree. Hold the node's lock."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def keep(self, path: Path, ino: int, *, noted: bool = False) -> bytes:
        """Keep the node's content alive, to `give_back` or `drop`. `noted`: its path as well, for whoever finds it
        after a kill."""
        kept = os.path.join(self._tree.staging, b"%s%d" % (_KEPT, ino))
        self.drop(kept)
        if noted:
            os.symlink(path, kept + _OF)
        self._tree.link_out(path, kept)
        return kept

    def give_back(self, kept: bytes, path: Path) -> None:
        self._tree.move_in(kept, path)
        self.drop(kept)

    def drop(self, kept: bytes) -> None:
        for name in (kept, kept + _OF):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)

    def empty(self, kept: bytes) -> None:
        """Free the room of what is about to be dropped, where nobody has it open and it has no other name: on a full
        disk there is none to put its end on record."""
        with contextlib.suppress(OSError):
            status = os.lstat(kept)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                return
            file = os.open(kept, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if not leases.is_open(file):
                    os.ftruncate(file, 0)
            finally:
                os.close(file)

    def left(self) -> list[tuple[bytes, int, Path | None]]:
        """All that is kept, each with its inode number and, where that was noted, its path."""
        found = []
        for name in os.listdir(self._tree.staging):
            if name.startswith(_KEPT) and not name.endswith(_OF):
                kept = os.path.join(self._tree.staging, name)
                path = os.readlink(kept + _OF) if os.path.lexists(kept + _OF) else None
                found.append((kept, int(name.removeprefix(_KEPT)), path))
        return found
