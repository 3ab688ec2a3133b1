"""Nodes opened: their attributes in the words of the protocol, and new versions of them."""

from __future__ import annotations

import stat

from msgspec.structs import replace

from broker.drive.format.bodies import Body
from broker.drive.format.nodes import open_node
from broker.drive.records import Node, NodeId, StoredNode
from broker.remotes import protocol
from broker.remotes.drive.places import Held
from broker.remotes.paths import Path
from broker.remotes.protocol import Attributes, Changes, Version

_REMEMBERED = 5_000
"""Opened bodies that are kept."""

_MODE_BITS = 0o7777
_UNCOUNTED = 1
"""The links of a folder whose subfolders nobody counts, as on btrfs. From 2 on, programs take the rest for their
number, and on XFS `find` looks for no more folders than that (fts.c of gnulib)."""


class Bodies:
    """What nodes say, opened once for each version."""

    def __init__(self) -> None:
        self._opened: dict[NodeId, tuple[Node, Body]] = {}

    def open(self, held: Held) -> Body:
        """A known one was checked by the verify key beside it, which need not be the one that `held` has."""
        node = held.stored.node
        known = self._opened.get(node.id)
        if known is not None and known[0] == node and node.verify_key == held.keys.verify:
            return known[1]
        body = open_node(node, held.keys, verify=True)
        self.learn(node, body)
        return body

    def learn(self, node: Node, body: Body) -> None:
        if len(self._opened) > _REMEMBERED:
            self._opened.clear()
        self._opened[node.id] = node, body


def version_of(stored: StoredNode) -> Version:
    """Changes with the content, the attributes, the number of names, and the entries of a folder."""
    return Version(f"{stored.node.id.hex()}:{stored.node.version}:{stored.links}:{stored.changes}")


def is_version(stored: StoredNode, version: Version) -> bool:
    """Whether the node has the content and attributes of `version`; it may have got or lost a name since."""
    return version.split(":")[:2] == [stored.node.id.hex(), str(stored.node.version)]


def attributes_of(stored: StoredNode, body: Body) -> Attributes:
    folder = stat.S_ISDIR(body.mode)
    own_time = not folder or body.mtime_changes == stored.changes
    size = len(body.target) if body.target is not None else body.size
    return Attributes(
        version=version_of(stored),
        mode=body.mode,
        size=size,
        mtime_ns=body.mtime_ns if own_time else stored.changed_ns,
        atime_ns=body.atime_ns,
        nlink=_UNCOUNTED if folder else max(stored.links, 1),
        uid=body.uid,
        gid=body.gid,
        blocks=body.blocks if stat.S_ISREG(body.mode) else 0,
        rdev=body.rdev,
        target=body.target,
        identity=stored.node.id.hex() if stored.links > 1 and not folder else None,
    )


def changed(path: Path, body: Body, changes: Changes, stored: StoredNode | None) -> Body:
    """`body` with other attributes. A folder's own time counts until the store knows of the next change in it."""
    if changes.mode is not None and stat.S_ISLNK(body.mode):
        raise protocol.Unsupported(path, "a symlink has no mode")
    mode = body.mode if changes.mode is None else stat.S_IFMT(body.mode) | changes.mode & _MODE_BITS
    new = replace(
        body,
        mode=mode,
        uid=body.uid if changes.uid is None else changes.uid,
        gid=body.gid if changes.gid is None else changes.gid,
        atime_ns=body.atime_ns if changes.atime_ns is None else changes.atime_ns,
    )
    if changes.mtime_ns is None:
        return new
    return replace(new, mtime_ns=changes.mtime_ns, mtime_changes=stored.changes if stored else 0)
