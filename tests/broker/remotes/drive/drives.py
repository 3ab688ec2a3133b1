"""Drives for tests: a user's own on stores in memory."""

from __future__ import annotations

import stat
from dataclasses import dataclass

from broker.drive.format.bodies import Body
from broker.drive.format.identity import Identity, new_identity
from broker.drive.format.nodes import seal_node
from broker.drive.records import Kind, NodeId
from broker.remotes.drive.core import Core
from broker.remotes.drive.memory import Memory
from broker.remotes.drive.remote import DriveRemote
from broker.remotes.drive.roots import home_of
from broker.remotes.protocol import Attributes, Capabilities, Space

from .doubles import MemoryBlobs, MemoryStore

FULL = Capabilities(owners=True, hard_links=True, extended_attributes=True, special_files=True, holes=True)
TIME = 1_700_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class Drive:
    """A remote, and what it stands on."""

    identity: Identity
    store: MemoryStore
    blobs: MemoryBlobs
    core: Core
    remote: DriveRemote

    def id_of(self, attributes: Attributes) -> NodeId:
        """The node that the store has it as."""
        return NodeId(bytes.fromhex(attributes.version.partition(":")[0]))


def drive(
    identity: Identity | None = None,
    store: MemoryStore | None = None,
    blobs: MemoryBlobs | None = None,
    memory: str | None = None,
) -> Drive:
    """A new empty drive, or another client of the stores of one."""
    identity = identity or new_identity("alice", "", b"server")
    root = seal_node(identity.home, Kind.FOLDER, 1, 1, identity.home_keys(1), Body(stat.S_IFDIR | 0o755, TIME, TIME))
    store, blobs = store or MemoryStore(root), blobs or MemoryBlobs()
    core = Core(store, blobs, Memory(memory))
    return Drive(identity, store, blobs, core, DriveRemote(core, home_of(core.walk, identity), FULL, _room))


async def _room() -> Space:
    return Space(1 << 40, 1 << 39, 1 << 39, 1 << 20, 1 << 19)
