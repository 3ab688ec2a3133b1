"""What a path leads to: opened nodes, and the folders and names that they are under."""

from __future__ import annotations

from msgspec import Struct

from broker.drive.format.keys import NodeKeys
from broker.drive.records import Entry, Kind, NodeId, StoredNode, Token
from broker.remotes import protocol
from broker.remotes.paths import Path


class Held(Struct, frozen=True):
    """A node as the store has it, and the keys to it."""

    stored: StoredNode
    keys: NodeKeys

    @property
    def id(self) -> NodeId:
        return self.stored.node.id

    @property
    def is_folder(self) -> bool:
        return self.stored.node.kind == Kind.FOLDER


class Place(Struct, frozen=True):
    """Where a path leads. `folder` is None where nothing can be made, moved or removed: at the root of a tree.

    `entry` may be a tombstone; then, and where there never was one, `node` is None. `above` are the folders on the
    way, from the root on, the last of which is `folder`.
    """

    path: Path
    name: bytes
    folder: Held | None
    token: Token
    entry: Entry | None
    node: Held | None
    above: tuple[Held, ...] = ()

    @property
    def next_version(self) -> int:
        """Of the entry, when it changes."""
        return self.entry.version + 1 if self.entry else 1

    def parent(self) -> Held:
        """The folder, in which something is about to change. Forbidden at the root."""
        if self.folder is None:
            raise protocol.Forbidden(self.path, "the root stays as it is")
        return self.folder

    def required(self) -> Held:
        """The node. NotFound when there is none."""
        if self.node is None:
            raise protocol.NotFound(self.path)
        return self.node

    def free(self) -> Held:
        """The folder, in which the name is about to be made. AlreadyExists when it is taken."""
        folder = self.parent()
        if self.node is not None:
            raise protocol.AlreadyExists(self.path)
        return folder

    def writable(self) -> Held:
        """The node, which is about to change. Forbidden when it was shared for reading only."""
        node = self.required()
        if node.keys.seed is None:
            raise protocol.Forbidden(self.path, "it is shared with you for reading only")
        return node
