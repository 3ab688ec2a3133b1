"""A new user's home: the root of a tree, before anything is in it."""

from __future__ import annotations

import stat
import time

from broker.drive.format.bodies import Body
from broker.drive.format.identity import Identity
from broker.drive.format.nodes import seal_node
from broker.drive.metadata.protocol import PutNode
from broker.drive.records import Kind


def new_home(identity: Identity, uid: int | None = None, gid: int | None = None) -> PutNode:
    """The folder that an identity registers with."""
    now = time.time_ns()
    body = Body(stat.S_IFDIR | 0o700, now, now, uid=uid, gid=gid, mtime_changes=0)
    return PutNode(seal_node(identity.home, Kind.FOLDER, 1, 1, identity.home_keys(1), body))
