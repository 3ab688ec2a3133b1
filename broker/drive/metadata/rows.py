"""Rows as records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker.drive.metadata import schema
from broker.drive.records import Chunk, Entry, Grant, Kind, Node, Right, StoredNode

_KINDS = tuple(Kind)
"""By value: a listing has thousands of them, and an enumeration looks its values up slowly."""

_n, _e, _g, _c = schema.nodes.c, schema.entries.c, schema.grants.c, schema.chunks.c

NODE = (
    _n.id,
    _n.kind,
    _n.version,
    _n.epoch,
    _n.commitment,
    _n.verify_key,
    _n.body,
    _n.signature,
    _n.inline,
    _n.home,
    _n.links,
    _n.changes,
    _n.changed_ns,
)
ENTRY = (_e.parent, _e.token, _e.version, _e.epoch, _e.child, _e.sealed, _e.sealed_seed, _e.signature)
GRANT = (_g.node, _g.grantee, _g.owner, _g.right, _g.epoch, _g.sealed, _g.signature, _g.label)
CHUNK = (_c.id, _c.blob, _c.size)


def node(row: Sequence[Any]) -> StoredNode:
    """Of the columns NODE."""
    id, kind, version, epoch, commitment, verify_key, body, signature, inline, home, links, changes, changed_ns = row
    return StoredNode(
        Node(id, _KINDS[kind], version, epoch, commitment, verify_key, body, signature, bool(inline)),
        home,
        links,
        changes,
        changed_ns,
    )


def entry_and_node(row: Sequence[Any]) -> tuple[Entry, StoredNode]:
    """Of the columns ENTRY and NODE."""
    return Entry(*row[:8]), node(row[8:])


def named(row: Sequence[Any]) -> tuple[Entry, StoredNode | None]:
    """The same, where a tombstone leads to no node."""
    return Entry(*row[:8]), None if row[8] is None else node(row[8:])


def grant(row: Sequence[Any]) -> Grant:
    """Of the columns GRANT."""
    node, grantee, owner, right, *rest = row
    return Grant(node, grantee, owner, Right(right), *rest)


def chunk(row: Sequence[Any]) -> Chunk:
    """Of the columns CHUNK."""
    return Chunk(*row)


def node_values(stored: StoredNode, charged: int) -> dict[str, object]:
    """For the table of nodes."""
    return {
        "id": stored.node.id,
        "kind": int(stored.node.kind),
        "version": stored.node.version,
        "epoch": stored.node.epoch,
        "commitment": stored.node.commitment,
        "verify_key": stored.node.verify_key,
        "body": stored.node.body,
        "signature": stored.node.signature,
        "inline": stored.node.inline,
        "home": stored.home,
        "links": stored.links,
        "changes": stored.changes,
        "changed_ns": stored.changed_ns,
        "charged": charged,
    }


def entry_values(entry: Entry) -> dict[str, object]:
    """For the table of entries."""
    return {
        "parent": entry.parent,
        "token": entry.token,
        "version": entry.version,
        "epoch": entry.epoch,
        "child": entry.child,
        "sealed": entry.sealed,
        "sealed_seed": entry.sealed_seed,
        "signature": entry.signature,
    }


def grant_values(grant: Grant) -> dict[str, object]:
    """For the table of grants."""
    return {
        "node": grant.node,
        "grantee": grant.grantee,
        "owner": grant.owner,
        "right": int(grant.right),
        "epoch": grant.epoch,
        "sealed": grant.sealed,
        "signature": grant.signature,
        "label": grant.label,
    }
