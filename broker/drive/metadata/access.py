"""What a user may do with which nodes: all below the own home, and what is granted on a node or a folder above it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Integer, and_, bindparam, func, literal, select
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import Select

from broker.drive.errors import Denied, Missing
from broker.drive.metadata.schema import entries, grants, homes, nodes
from broker.drive.metadata.statements import Batched, Prepared
from broker.drive.records import NodeId, Right, UserId

DEPTH = 4096
"""Folders above each other that are looked through: more than PATH_MAX can name, and an end to damaged trees."""

COUNTS = and_(nodes.c.id == grants.c.node, nodes.c.epoch == grants.c.epoch)
"""A grant is good for as long as its node has the keys that were granted."""

_owners = Batched(
    lambda keys: select(nodes.c.id, homes.c.owner).join(homes, nodes.c.home == homes.c.id).where(keys), nodes.c.id
)


def _granted_above(keys: ColumnElement[bool]) -> Select[Any]:
    """The best right of :user for each of the nodes. A node with several names has several folders above it."""
    above = (
        select(nodes.c.id.label("start"), nodes.c.id.label("node"), literal(0, Integer).label("depth"))
        .where(keys)
        .cte("above", recursive=True)
    )
    above = above.union(
        select(above.c.start, entries.c.parent, above.c.depth + 1)
        .join(above, entries.c.child == above.c.node)
        .where(above.c.depth < DEPTH)
    )
    return (
        select(above.c.start, func.max(grants.c.right))
        .join(grants, grants.c.node == above.c.node)
        .join(nodes, COUNTS)
        .where(grants.c.grantee == bindparam("user", type_=grants.c.grantee.type))
        .group_by(above.c.start)
    )


_granted = Batched(_granted_above, nodes.c.id)


def _root_above_folder() -> Select[bytes]:
    start = bindparam("id", type_=nodes.c.id.type)
    above = select(start.label("node"), literal(0, Integer).label("depth")).cte("above", recursive=True)
    above = above.union(
        select(entries.c.parent, above.c.depth + 1)
        .join(above, entries.c.child == above.c.node)
        .where(above.c.depth < DEPTH)
    )
    return select(homes.c.id).join(above, homes.c.id == above.c.node)


_root_above = Prepared(_root_above_folder())


def rights(connection: Connection, user: UserId, ids: Iterable[NodeId]) -> Mapping[NodeId, Right]:
    """What `user` may do with those of the nodes that the user may know of."""
    owners = {NodeId(id): owner for id, owner in _owners.rows(connection, ((id,) for id in ids))}
    return rights_by_owner(connection, user, owners)


def rights_by_owner(connection: Connection, user: UserId, owners: Mapping[NodeId, bytes]) -> Mapping[NodeId, Right]:
    """The same, of nodes whose homes' owners are known already."""
    found = {id: Right.WRITE for id, owner in owners.items() if owner == user}
    if foreign := [id for id in owners if id not in found]:
        for id, right in _granted.rows(connection, ((id,) for id in foreign), user=user):
            found[NodeId(id)] = Right(right)
    return found


def require(found: Mapping[NodeId, Right], id: NodeId, right: Right) -> None:
    """Missing of what the user may not see, whether it is there or not; Denied of what the user may only read."""
    if id not in found:
        raise Missing("no such node")
    if found[id] < right:
        raise Denied("it is shared with you for reading only")


def visible(connection: Connection, user: UserId, ids: Sequence[NodeId]) -> None:
    """Missing unless the user may read all of them."""
    found = rights(connection, user, ids)
    for id in ids:
        require(found, id, Right.READ)


def reaches_home(connection: Connection, id: NodeId) -> bool:
    """Whether one comes from a folder to the root of its tree, going up."""
    return _root_above.row(connection, id=id) is not None
