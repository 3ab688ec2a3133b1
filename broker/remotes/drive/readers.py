"""Who else can read something: asked before a name goes to another folder."""

from __future__ import annotations

import contextlib

from broker.drive.errors import Denied, Missing
from broker.drive.format.nodes import open_node
from broker.drive.metadata.protocol import MetadataStore
from broker.drive.records import NodeId
from broker.remotes.drive.pending import pending
from broker.remotes.drive.places import Held, Place
from broker.remotes.drive.walk import Walk


class Readers:
    """Of what one user has on a server; `home` is the root of his tree."""

    def __init__(self, store: MetadataStore, walk: Walk, home: NodeId) -> None:
        self._store = store
        self._walk = walk
        self._home = home

    async def differ(self, one: Place, other: Place) -> bool:
        """Whether other users can read something in one of the folders and not in the other, or still know its keys.

        Of a tree that is shared with this user, only its owner is told. A share is taken back by one commit with the
        note of it, so that whoever asks in this order misses neither.
        """
        apart = {held.id for held in one.above} ^ {held.id for held in other.above}
        for id in apart:
            with contextlib.suppress(Denied, Missing):
                if await self._store.grants(id):
                    return True
        return bool(apart) and not apart.isdisjoint(await self._rekeyed_below(one.above[0]))

    async def _rekeyed_below(self, root: Held) -> frozenset[NodeId]:
        """Below which nodes keys are being changed. What moved away from there would be passed over."""
        if root.id != self._home:
            return frozenset()
        home = await self._walk.node(root.id)
        return frozenset(pending(open_node(home.node, root.keys, verify=True)))
