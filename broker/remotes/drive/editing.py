"""New nodes and new versions of nodes, with or without content, each in one commit."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from broker.drive.format.bodies import Body
from broker.drive.format.keys import NodeKeys, new_node_keys
from broker.drive.format.nodes import seal_node
from broker.drive.metadata.protocol import Change, PutNode
from broker.drive.records import Kind, Node, NodeId, OperationId
from broker.remotes.drive.committing import new_operation
from broker.remotes.drive.core import Core
from broker.remotes.drive.nodes import changed
from broker.remotes.drive.places import Held, Place
from broker.remotes.paths import Path
from broker.remotes.protocol import Changes, Step


class Source(Struct, frozen=True):
    """A descriptor with content, told of as it goes."""

    file: int
    step: Step
    durable: bool


class Made(Struct, frozen=True):
    """A node that is ready to be given its name."""

    put: PutNode
    keys: NodeKeys
    body: Body
    operation: OperationId


class Editing:
    """Seals what changes, sends what is new of its content, and commits."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def make(self, home: NodeId, body: Body, source: Source | None = None) -> Made:
        """A node with that body, for the tree of `home`."""
        id, keys = NodeId(os.urandom(16)), new_node_keys()
        kind = Kind.FOLDER if stat.S_ISDIR(body.mode) else Kind.OTHER
        operation = new_operation()
        if source is None:
            return Made(PutNode(seal_node(id, kind, 1, 1, keys, body)), keys, body, operation)
        written = await self._core.writing.write(
            id, home, body, None, source.file, operation, source.step, durable=source.durable
        )
        node = seal_node(id, kind, 1, 1, keys, written.body, inline=written.inline)
        return Made(PutNode(node, written.chunks, written.sealed), keys, written.body, operation)

    async def place(self, made: Made, place: Place, *, durable: bool = False) -> Place:
        """Give it its name. AlreadyExists when that is taken."""
        named = await self._core.names.make(place, made.put, made.keys, made.operation, durable=durable)
        self._core.bodies.learn(made.put.node, made.body)
        return named

    async def write(self, path: Path, held: Held, source: Source, changes: Changes) -> Held:
        """Replace the content. NodeChanged when the node is no longer what `held` says."""
        body = replace(self._core.bodies.open(held), mtime_ns=time.time_ns())
        operation = new_operation()
        written = await self._core.writing.write(
            held.id,
            held.stored.home,
            body,
            held.stored.node,
            source.file,
            operation,
            source.step,
            durable=source.durable,
        )
        new = changed(path, written.body, changes, None)
        node = self._sealed(held, new, inline=written.inline)
        put = PutNode(node, written.chunks, written.sealed)
        return await self._commit(held, put, new, operation, durable=source.durable)

    async def change(self, held: Held, alter: Callable[[Body], Body], *also: Change) -> Held:
        """Replace the attributes, and do `also` what is to survive a power loss with them. NodeChanged when the node
        is no longer what `held` says."""
        new = alter(self._core.bodies.open(held))
        put = PutNode(self._sealed(held, new, inline=held.stored.node.inline))
        return await self._commit(held, put, new, new_operation(), *also, durable=bool(also))

    def _sealed(self, held: Held, body: Body, *, inline: bool) -> Node:
        node = held.stored.node
        return seal_node(node.id, node.kind, node.version + 1, node.epoch, held.keys, body, inline=inline)

    async def _commit(
        self, held: Held, put: PutNode, body: Body, operation: OperationId, *also: Change, durable: bool
    ) -> Held:
        committed = await self._core.commits.commit(put, *also, operation=operation, durable=durable)
        self._core.bodies.learn(put.node, body)
        return Held(committed.nodes[held.id], held.keys)
