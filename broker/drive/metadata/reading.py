"""What can be asked of nodes and entries, on one snapshot each, with the user's rights looked at in the same."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Integer, Select, bindparam, literal, select, tuple_

from broker.drive.errors import Malformed, Missing, WrongKind
from broker.drive.metadata import access, rows
from broker.drive.metadata.access import DEPTH
from broker.drive.metadata.protocol import Below, Listed
from broker.drive.metadata.schema import contents, entries, homes, nodes
from broker.drive.metadata.statements import Batched, Prepared
from broker.drive.records import Entry, Kind, NodeId, StoredNode, Token, UserId

PAGE = 100_000
"""Entries of one page at most."""
PAGE_BYTES = 4 << 20
"""Sealed bytes after which a page ends early: 4000 entries have less, but bodies can be long."""

_owned = Batched(
    lambda keys: select(*rows.NODE, homes.c.owner).join(homes, nodes.c.home == homes.c.id).where(keys), nodes.c.id
)
_names = Batched(
    lambda keys: select(*rows.ENTRY, *rows.NODE).outerjoin(nodes, nodes.c.id == entries.c.child).where(keys),
    entries.c.parent,
    entries.c.token,
)
_inline = Batched(
    lambda keys: (
        select(nodes.c.id, nodes.c.version, contents.c.sealed)
        .join(contents, contents.c.node == nodes.c.id)
        .where(keys)
    ),
    nodes.c.id,
)
_living = (
    select(*rows.ENTRY, *rows.NODE).join(nodes, nodes.c.id == entries.c.child).where(entries.c.child.is_not(None))
)
_page = Prepared(
    _living.where(entries.c.parent == bindparam("folder"), entries.c.token > bindparam("after"))
    .order_by(entries.c.token)
    .limit(bindparam("limit"))
)


def _everything_below() -> Select[*tuple[object, ...]]:
    """Folders below :folder by recursion; of these the living entries, from a place on."""
    start = bindparam("folder", type_=nodes.c.id.type)
    below = select(start.label("node"), literal(0, Integer).label("depth")).cte("below", recursive=True)
    below = below.union(
        select(entries.c.child, below.c.depth + 1)
        .join(below, entries.c.parent == below.c.node)
        .join(nodes, nodes.c.id == entries.c.child)
        .where(nodes.c.kind == Kind.FOLDER.value, below.c.depth < DEPTH)
    )
    place = tuple_(entries.c.parent, entries.c.token)
    return (
        _living.join(below, below.c.node == entries.c.parent)
        .where(place > tuple_(bindparam("parent", type_=nodes.c.id.type), bindparam("token", type_=nodes.c.id.type)))
        .order_by(entries.c.parent, entries.c.token)
        .limit(bindparam("limit"))
    )


_below = Prepared(_everything_below())


def nodes_of(connection: Connection, user: UserId, ids: Sequence[NodeId]) -> Mapping[NodeId, StoredNode]:
    """Those that the user may read."""
    found = {row[0]: row for row in _owned.rows(connection, ((id,) for id in ids))}
    rights = access.rights_by_owner(connection, user, {id: row[13] for id, row in found.items()})
    return {id: rows.node(row[:13]) for id, row in found.items() if id in rights}


def lookup(
    connection: Connection, user: UserId, names: Sequence[tuple[NodeId, Token]]
) -> Sequence[tuple[Entry, StoredNode | None] | None]:
    """Entry and node of each name: Missing unless the user may read the folders."""
    access.visible(connection, user, [parent for parent, _ in names])
    found = {(row[0], row[1]): rows.named(row) for row in _names.rows(connection, names)}
    return [found.get(name) for name in names]


def listing(connection: Connection, user: UserId, folder: NodeId, after: Token | None, limit: int) -> Listed:
    """One page of a folder: Missing, WrongKind."""
    check_limit(limit)
    stored = _folder(connection, user, folder)
    found, more = _fitting(_page.each(connection, folder=folder, after=after or b"", limit=limit + 1), limit)
    return Listed(stored, found, found[-1][0].token if more else None)


def descendants(
    connection: Connection, user: UserId, folder: NodeId, after: tuple[NodeId, Token] | None, limit: int
) -> Below:
    """One page of what is below a folder, at any depth: Missing, WrongKind."""
    check_limit(limit)
    _folder(connection, user, folder)
    parent, token = after or (b"", b"")
    page = _below.each(connection, folder=folder, parent=parent, token=token, limit=limit + 1)
    found, more = _fitting(page, limit)
    last = found[-1][0] if more else None
    return Below(found, (last.parent, last.token) if last else None)


def _fitting(page: Generator[tuple[Any, ...]], limit: int) -> tuple[Sequence[tuple[Entry, StoredNode]], bool]:
    """The first entries, as many as make a page, and at least one; whether there are more."""
    found: list[tuple[Entry, StoredNode]] = []
    left = PAGE_BYTES
    with contextlib.closing(page):
        for row in page:
            entry, stored = rows.entry_and_node(row)
            left -= len(entry.sealed) + len(entry.sealed_seed) + len(stored.node.body)
            if found and (left < 0 or len(found) == limit):
                return found, True
            found.append((entry, stored))
    return found, False


def inline(connection: Connection, user: UserId, ids: Sequence[NodeId]) -> Mapping[NodeId, tuple[int, bytes]]:
    """Version and sealed inline content of those of the nodes that have some and that the user may read."""
    rights = access.rights(connection, user, ids)
    return {
        NodeId(id): (version, sealed)
        for id, version, sealed in _inline.rows(connection, ((id,) for id in ids if id in rights))
    }


def _folder(connection: Connection, user: UserId, id: NodeId) -> StoredNode:
    stored = nodes_of(connection, user, [id]).get(id)
    if stored is None:
        raise Missing("no such folder")
    if stored.node.kind is not Kind.FOLDER:
        raise WrongKind("no folder")
    return stored


def check_limit(limit: int) -> None:
    """Of the entries of a page. Malformed."""
    if not 0 < limit <= PAGE:
        raise Malformed(f"a page has 1 to {PAGE} entries")
