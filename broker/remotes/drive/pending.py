"""Changes of keys that are not finished: kept sealed in the user's home until all below a node has new ones."""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec import Struct

from broker.drive.format.bodies import Body
from broker.drive.records import NodeId, UserId

_PREFIX = b"drive.rekey."
"""Attributes of the home's body that no program sees, each by the id of the node."""
_MARK_SIZE = 16
_USER_SIZE = 32


class Pending(Struct, frozen=True):
    """`mark` tells the nodes that have been done; `revoked` are the users whose shares have been taken back."""

    mark: bytes
    revoked: frozenset[UserId]


def pending(home: Body) -> Mapping[NodeId, Pending]:
    """By the nodes, all below which gets new keys."""
    return {
        NodeId(name.removeprefix(_PREFIX)): Pending(value[:_MARK_SIZE], _users(value[_MARK_SIZE:]))
        for name, value in home.xattrs.items()
        if name.startswith(_PREFIX)
    }


def with_revoked(home: Body, node: NodeId, user: UserId) -> Mapping[bytes, bytes]:
    """The attributes of the home with a change that begins anew, against those of before as well."""
    others = home.xattrs.get(_PREFIX + node, b"")[_MARK_SIZE:]
    return {**home.xattrs, _PREFIX + node: os.urandom(_MARK_SIZE) + others + user}


def without(home: Body, node: NodeId, done: Pending) -> Mapping[bytes, bytes]:
    """The attributes of the home without what is done; what somebody has begun anew meanwhile stays."""
    stays = pending(home).get(node) != done
    return {name: value for name, value in home.xattrs.items() if stays or name != _PREFIX + node}


def _users(ids: bytes) -> frozenset[UserId]:
    return frozenset(UserId(ids[at : at + _USER_SIZE]) for at in range(0, len(ids), _USER_SIZE))
