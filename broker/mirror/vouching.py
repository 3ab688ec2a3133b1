"""What a mirror tells those who answer for it without asking: which names are fresh, and how nodes are shown."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from broker.remotes.paths import Path
from broker.remotes.protocol import Version


class Shown(Struct, frozen=True, gc=False):
    """Corrections to stat(2): None where the mirror's node has it right."""

    nlink: int | None = None
    blocks: int | None = None
    """Of 512 bytes."""
    set_id: int = 0
    """Mode bits that the remote keeps and the mirror must not have."""


class Vouch(Protocol):
    """Times are seconds of time.monotonic(); paths are relative to the drive's root."""

    def name(self, path: Path, until: float) -> None:
        """Until then the mirror's node at `path`, or its absence, is what the remote has; 0 takes it back."""
        ...

    def listing(self, path: Path, until: float) -> None:
        """Until then the names in that folder are the remote's, each fresh; 0 takes it back."""
        ...

    def forget_names(self) -> None: ...

    def node(self, ino: int, nlink: int | None, blocks: int | None, set_id: int, dirty: bool) -> None:
        """How stat(2) of a node that is no folder is to be corrected, as in `Shown`.

        `dirty`: the close of a descriptor that can write will push its mode and times with the content.
        """
        ...

    def forget_node(self, ino: int) -> None: ...

    def forget_nodes(self) -> None: ...

    def complete(self, ino: int, version: Version, until: float) -> None:
        """Until then the clean file has the whole content of the version: to open it for reading it is enough to know
        that the remote is still at that. Whatever is said of the node takes it back."""
        ...

    def witnessed(self, path: Path, ino: int, version: Version | None, state: bytes) -> None:
        """The remote had this version at `path`, where the mirror has that node (None and 0 for nothing), when its
        witness was in that state (`Witness.memory`). While the mirror keeps another version, because somebody works
        with it, the two differ."""
        ...


class NoVouch:
    """Nobody answers for the mirror."""

    def name(self, path: Path, until: float) -> None: ...

    def listing(self, path: Path, until: float) -> None: ...

    def forget_names(self) -> None: ...

    def node(self, ino: int, nlink: int | None, blocks: int | None, set_id: int, dirty: bool) -> None: ...

    def forget_node(self, ino: int) -> None: ...

    def forget_nodes(self) -> None: ...

    def complete(self, ino: int, version: Version, until: float) -> None: ...

    def witnessed(self, path: Path, ino: int, version: Version | None, state: bytes) -> None: ...
