"""Where a node or an entry belongs, as bytes that no other place has: to be signed, and to be associated data."""

from __future__ import annotations

import struct

from broker.drive.errors import Damaged
from broker.drive.records import Entry, Node

_NODE = struct.Struct(">16sBQQ?")
_ENTRY = struct.Struct(">16s32s16sQQ")
_NO_CHILD = bytes(16)


def node_place(node: Node) -> bytes:
    """Id, kind, version, epoch, whether content is inline. Damaged if one of them is of the wrong size."""
    if len(node.id) != 16:
        raise Damaged("its id is not of 16 bytes")
    try:
        return _NODE.pack(node.id, node.kind, node.version, node.epoch, node.inline)
    except struct.error as error:
        raise Damaged("its kind, version or epoch is out of range") from error


def entry_place(entry: Entry) -> bytes:
    """Parent, token, child (zeros for a tombstone), version, epoch. Damaged if one of them is of the wrong size."""
    child = _NO_CHILD if entry.child is None else entry.child
    if len(entry.parent) != 16 or len(entry.token) != 32 or len(child) != 16:
        raise Damaged("an id is not of 16 bytes, or a token not of 32")
    try:
        return _ENTRY.pack(entry.parent, entry.token, child, entry.version, entry.epoch)
    except struct.error as error:
        raise Damaged("its version or epoch is out of range") from error
