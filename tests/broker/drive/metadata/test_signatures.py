"""The store refuses nodes that their own key has not signed, and keys that change without an epoch."""

from __future__ import annotations

import asyncio
import stat

from msgspec.structs import replace

from broker.drive.errors import Malformed
from broker.drive.format.bodies import Body
from broker.drive.format.entries import seal_entry
from broker.drive.format.keys import new_node_keys
from broker.drive.format.nodes import seal_node
from broker.drive.metadata.protocol import PutEntry, PutNode
from broker.drive.metadata.store import open_store
from broker.drive.records import Kind
from tests.broker.drive.metadata.helpers import new_node, refused, register


def test_nodes_are_signed(url: str) -> None:
    """A signed node is taken; changed in any part, signed by another key, or under another's key it is Malformed."""

    async def main() -> None:
        store = await open_store(url, create=True)
        try:
            alice = await register(store)
            keys, others = new_node_keys(), new_node_keys()
            body = Body(stat.S_IFREG | 0o600, 0, 0)
            node = seal_node(new_node().id, Kind.OTHER, 1, 1, keys, body)
            named = PutEntry(seal_entry(alice.home, alice.identity.home_keys(1), 1, 1, b"file", node.id, keys))
            for bad in (
                replace(node, signature=bytes(64)),
                replace(node, body=node.body + b"x"),
                replace(node, epoch=2),
                replace(node, verify_key=others.verify),
                replace(node, commitment=bytes(32)),
            ):
                await refused(Malformed, alice.commit(PutNode(bad), named))
            await alice.commit(PutNode(node), named)
            # A reader who makes keys of its own has signed with them, but they are not the node's.
            forged = seal_node(node.id, Kind.OTHER, 2, 1, others, body)
            await refused(Malformed, alice.commit(PutNode(forged)))
            await alice.commit(PutNode(seal_node(node.id, Kind.OTHER, 2, 1, keys, body)))
        finally:
            await store.close()

    asyncio.run(main())
