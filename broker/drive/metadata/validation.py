"""Requests that no honest client makes are refused before anything is looked up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from broker.drive.errors import Malformed
from broker.drive.metadata.protocol import Commit, DropGrant, PutEntry, PutGrant, PutNode
from broker.drive.records import INLINE_MAX, SEALED_MAX, Chunk, Entry, Grant, Node, NodeId, Token

_ID = 16
_HASH = 32
_SIGNATURE = 64
_NUMBER_MAX = (1 << 62) - 1
_CONTENT_MAX = INLINE_MAX + 512
_ENTRY_MAX = 1024
"""Bytes of each sealed part of an entry or a grant: a name of 255 bytes and keys, with room for other formats."""
_BLOB_MAX = 1 << 30
_BLOB_NAME = re.compile(r"[0-9a-f]{32}")


def check_ids(ids: Iterable[NodeId]) -> None:
    for id in ids:
        _length("a node's id", id, _ID)


def check_names(names: Iterable[tuple[NodeId, Token]]) -> None:
    for parent, token in names:
        _length("a node's id", parent, _ID)
        _length("a token", token, _HASH)


def check_chunks(chunks: Sequence[Chunk]) -> None:
    for chunk in chunks:
        _length("a chunk's id", chunk.id, _HASH)
        if not _BLOB_NAME.fullmatch(chunk.blob):
            raise Malformed("the name of a blob is 32 lower-case hexadecimal digits")
        _number("a blob's size", chunk.size, 1, _BLOB_MAX)


def check_node(node: Node) -> None:
    _length("a node's id", node.id, _ID)
    _number("a version", node.version, 1)
    _number("an epoch", node.epoch)
    _length("a commitment", node.commitment, _HASH)
    _length("a verify key", node.verify_key, _HASH)
    _length("a signature", node.signature, _SIGNATURE)
    _at_most("a node's body", node.body, SEALED_MAX)


def check_commit(commit: Commit) -> None:
    """Shapes and sizes of all parts; signatures are another matter."""
    _length("an operation's id", commit.operation, _ID)
    for change in commit.changes:
        match change:
            case PutNode(node, chunks, content):
                check_node(node)
                check_chunks(chunks or ())
                _at_most("inline content", content or b"", _CONTENT_MAX)
            case PutEntry(entry):
                _check_entry(entry)
            case PutGrant(grant):
                _check_grant(grant)
            case DropGrant(id, grantee):
                _length("a node's id", id, _ID)
                _length("a user's id", grantee, _HASH)


def _check_entry(entry: Entry) -> None:
    check_names([(entry.parent, entry.token)])
    _number("a version", entry.version, 1)
    _number("an epoch", entry.epoch)
    _length("a signature", entry.signature, _SIGNATURE)
    _at_most("an entry", entry.sealed, _ENTRY_MAX)
    _at_most("an entry", entry.sealed_seed, _ENTRY_MAX)
    if entry.child is not None:
        _length("a node's id", entry.child, _ID)
    elif entry.sealed or entry.sealed_seed:
        raise Malformed("a name that is gone keeps nothing")


def _check_grant(grant: Grant) -> None:
    _length("a node's id", grant.node, _ID)
    _length("a user's id", grant.grantee, _HASH)
    _length("a user's id", grant.owner, _HASH)
    _number("an epoch", grant.epoch)
    _length("a signature", grant.signature, _SIGNATURE)
    _at_most("a grant", grant.sealed, _ENTRY_MAX)
    _at_most("a grant", grant.label, _ENTRY_MAX)


def _length(what: str, value: bytes, length: int) -> None:
    if len(value) != length:
        raise Malformed(f"{what} has {length} bytes, not {len(value)}")


def _at_most(what: str, value: bytes, length: int) -> None:
    if len(value) > length:
        raise Malformed(f"{what} has at most {length} bytes, not {len(value)}")


def _number(what: str, value: int, least: int = 0, most: int = _NUMBER_MAX) -> None:
    if not least <= value <= most:
        raise Malformed(f"{what} is from {least} to {most}, not {value}")
