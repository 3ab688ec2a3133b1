"""What a call is about to remove is kept outside the tree until the remote has agreed: it may be the only copy."""

from __future__ import annotations

import contextlib
import os

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

    def left(self) -> list[tuple[bytes, int, Path | None]]:
        """All that is kept, each with its inode number and, where that was noted, its path."""
        found = []
        for name in os.listdir(self._tree.staging):
            if name.startswith(_KEPT) and not name.endswith(_OF):
                kept = os.path.join(self._tree.staging, name)
                path = os.readlink(kept + _OF) if os.path.lexists(kept + _OF) else None
                found.append((kept, int(name.removeprefix(_KEPT)), path))
        return found
