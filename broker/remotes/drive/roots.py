"""Where a tree begins: the user's home, or a node that was shared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from broker.drive.errors import WrongKey
from broker.drive.format.identity import Identity
from broker.drive.format.keys import NodeKeys
from broker.drive.format.nodes import check_node
from broker.drive.records import NodeId, StoredNode
from broker.remotes.drive.places import Held
from broker.remotes.drive.walk import Walk

Keys = Callable[[StoredNode], Awaitable[NodeKeys]]


class Root:
    """The node `id`, whose keys `keys` finds; `fixed` are those that are never changed."""

    def __init__(self, walk: Walk, id: NodeId, keys: Keys, *, fixed: bool = False) -> None:
        self._walk = walk
        self._id = id
        self._keys = keys
        self._fixed = fixed
        self._held: Held | None = None

    async def held(self) -> Held:
        """As it was when it was last asked for: its keys, unless they have been changed since."""
        return self._held or await self.fresh()

    async def fresh(self) -> Held:
        """As it is now. WrongKey and Tampered, unless it is under the keys that are known of it."""
        try:
            return await self._fresh()
        except WrongKey:  # they may have been changed between two questions
            return await self._fresh()

    async def _fresh(self) -> Held:
        stored = await self._walk.node(self._id)
        before = self._held
        if before is not None and before.stored.node.epoch == stored.node.epoch:
            keys = before.keys
        else:
            keys = await self._keys(stored)
        if before is None or before.stored.node != stored.node:
            check_node(stored.node, keys)
        self._held = Held(stored, keys)
        return self._held

    async def renewed(self, known: Held) -> bool:
        """Whether the keys have been changed since `known`: then names in it are not found under the old ones."""
        return not self._fixed and (await self.fresh()).keys != known.keys


def home_of(walk: Walk, identity: Identity) -> Root:
    """The user's own tree. It is never shared as a whole, so that its keys are never changed."""

    async def keys(stored: StoredNode) -> NodeKeys:
        return identity.home_keys(stored.node.epoch)

    return Root(walk, identity.home, keys, fixed=True)
