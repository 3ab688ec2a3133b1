"""Grants: who has been given what, by whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select

from broker.drive.errors import Denied, EpochChanged, Malformed, Missing
from broker.drive.metadata import access, rows
from broker.drive.metadata.before import Home
from broker.drive.metadata.outcome import Outcome
from broker.drive.metadata.protocol import Commit, DropGrant, PutGrant
from broker.drive.metadata.schema import grants, homes, nodes, users
from broker.drive.records import Grant, NodeId, StoredNode, UserId

_insert = insert(grants)
_drop = delete(grants).where(grants.c.node == bindparam("at"), grants.c.grantee == bindparam("to"))
_user = select(users.c.id).where(users.c.id == bindparam("user"))
_owner = select(homes.c.owner).join(nodes, nodes.c.home == homes.c.id).where(nodes.c.id == bindparam("node"))
_made = select(*rows.GRANT).where(grants.c.node == bindparam("node")).order_by(grants.c.grantee)
_received = (
    select(*rows.GRANT, *rows.NODE)
    .join(nodes, access.COUNTS)
    .where(grants.c.grantee == bindparam("user"))
    .order_by(grants.c.owner, grants.c.node)
)


def write(
    connection: Connection, user: UserId, commit: Commit, outcome: Outcome, locked: Mapping[NodeId, Home]
) -> None:
    """What a commit gives and takes; only owners do."""
    for change in commit.changes:
        match change:
            case PutGrant(grant):
                _require_owner(connection, user, grant.node, outcome, locked)
                _check(connection, user, grant, outcome)
                connection.execute(_drop, {"at": grant.node, "to": grant.grantee})
                connection.execute(_insert, rows.grant_values(grant))
            case DropGrant(node, grantee):
                _require_owner(connection, user, node, outcome, locked)
                connection.execute(_drop, {"at": node, "to": grantee})


def _require_owner(
    connection: Connection, user: UserId, node: NodeId, outcome: Outcome, locked: Mapping[NodeId, Home]
) -> None:
    draft = outcome.drafts.get(node)
    if draft is None or draft.gone:
        raise Missing("no such node")
    if draft.home not in locked or locked[draft.home].owner != user:
        access.visible(connection, user, [node])
        raise Denied("only the owner can share it")


def _check(connection: Connection, user: UserId, grant: Grant, outcome: Outcome) -> None:
    if grant.owner != user or grant.grantee == user:
        raise Malformed("a share is by its owner and for somebody else")
    if grant.epoch != outcome.drafts[grant.node].node.epoch:
        raise EpochChanged("the node has other keys by now")
    if connection.execute(_user, {"user": grant.grantee}).first() is None:
        raise Missing("no such user")


def made(connection: Connection, user: UserId, node: NodeId) -> Sequence[Grant]:
    """Those on this very node: Missing, Denied unless the user is the owner."""
    if connection.scalar(_owner, {"node": node}) != user:
        access.visible(connection, user, [node])
        raise Denied("only the owner can see with whom it is shared")
    return [rows.grant(row) for row in connection.execute(_made, {"node": node})]


def received(connection: Connection, user: UserId) -> Sequence[tuple[Grant, StoredNode]]:
    """Those made to the user that count, with their nodes."""
    return [(rows.grant(row[:8]), rows.node(row[8:])) for row in connection.execute(_received, {"user": user})]
