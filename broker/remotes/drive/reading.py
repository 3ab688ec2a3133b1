"""Content on its way down: chunks are fetched ahead of a reader, opened on threads, and kept for a moment."""

from __future__ import annotations

import asyncio
import functools
from collections import OrderedDict

from broker.drive.errors import Damaged, NodeChanged
from broker.drive.format.bodies import Body
from broker.drive.format.chunks import CHUNK, open_chunk
from broker.drive.format.manifest import Ref
from broker.drive.metadata.protocol import MetadataStore
from broker.drive.records import Node, NodeId
from broker.remotes.drive.chunklist import ChunkList
from broker.remotes.drive.transfers import Transfers

AHEAD = 8
"""Chunks that are fetched before they are asked for."""
_KEPT = 2 * AHEAD + 4
_LISTS = 8
"""Files whose chunk list is kept."""

_ZEROS = bytes(CHUNK)

Fetch = asyncio.Task[memoryview]


class Reading:
    """Reads of one drive's files, each of one version."""

    def __init__(self, store: MetadataStore, transfers: Transfers) -> None:
        self._store = store
        self._transfers = transfers
        self._lists: OrderedDict[tuple[NodeId, int, bytes], ChunkList] = OrderedDict()
        self._fetched: OrderedDict[tuple[NodeId, bytes], Fetch] = OrderedDict()

    async def read(self, node: Node, body: Body, offset: int, length: int) -> bytes:
        """At most `length` bytes at `offset`. NodeChanged when the store has gone on to another version."""
        end = min(offset + length, body.size)
        if offset >= end:
            return b""
        if node.inline:
            return bytes((await self.inline(node, body))[offset:end])
        chunks = await self.chunks(node, body)
        first, last = offset // CHUNK, (end - 1) // CHUNK
        pieces = [await self._piece(node, body, chunks, index) for index in range(first, last + 1)]
        await self._prefetch(node, body, chunks, last + 1)
        parts = []
        for index, piece in enumerate(pieces, first):
            opened = _ZEROS if piece is None else await asyncio.shield(piece)
            start = index * CHUNK
            parts.append(opened[max(offset - start, 0) : min(end - start, CHUNK)])
        return b"".join(parts)

    async def inline(self, node: Node, body: Body) -> memoryview:
        """The content that is kept beside the node."""
        found = (await self._store.inline([node.id])).get(node.id)
        ref = body.content.refs.get(0)
        if found is None or ref is None or found[0] != node.version:
            raise NodeChanged("its content is that of another version")
        key = body.content.keys.get(ref.epoch)
        if key is None:
            raise Damaged(f"there is no content key of epoch {ref.epoch}")
        return open_chunk(key, node.id, 0, ref.id, found[1], body.size)

    async def chunks(self, node: Node, body: Body) -> ChunkList:
        """Where that version's chunks are."""
        key = node.id, node.version, node.verify_key
        if key not in self._lists:
            listed = await self._store.chunks(node.id, node.version)
            check = functools.partial(self._require_current, node)
            self._lists[key] = ChunkList(self._transfers, node.id, body.content, listed, check)
        self._lists.move_to_end(key)
        while len(self._lists) > _LISTS:
            self._lists.popitem(last=False)
        return self._lists[key]

    async def _require_current(self, node: Node) -> None:
        now = (await self._store.nodes([node.id])).get(node.id)
        if now is None or now.node.version != node.version:
            raise NodeChanged("it has been removed or changed meanwhile")

    async def close(self) -> None:
        running = [fetch for fetch in self._fetched.values() if fetch.cancel()]
        await asyncio.gather(*running, return_exceptions=True)
        self._fetched.clear()

    async def _prefetch(self, node: Node, body: Body, chunks: ChunkList, start: int) -> None:
        for index in range(start, min(start + AHEAD, -(-body.size // CHUNK))):
            await self._piece(node, body, chunks, index)

    async def _piece(self, node: Node, body: Body, chunks: ChunkList, index: int) -> Fetch | None:
        """The chunk on its way; None for a hole."""
        ref = await chunks.get(index)
        if ref is None:
            return None
        key = node.id, ref.id
        fetch = self._fetched.get(key)
        if fetch is None or fetch.cancelled() or (fetch.done() and fetch.exception()):
            size = min(CHUNK, body.size - index * CHUNK)
            fetch = self._fetched[key] = asyncio.ensure_future(self._fetch(node, chunks, index, ref, size))
            fetch.add_done_callback(_seen)
        self._fetched.move_to_end(key)
        while len(self._fetched) > _KEPT:
            self._fetched.popitem(last=False)
        return fetch

    async def _fetch(self, node: Node, chunks: ChunkList, index: int, ref: Ref, size: int) -> memoryview:
        sealed = await chunks.sealed(ref)
        return await self._transfers.on_thread(open_chunk, chunks.key(ref), node.id, index, ref.id, sealed, size)


def _seen(fetch: Fetch) -> None:
    """The error of a chunk that nobody came to read is nobody's."""
    if not fetch.cancelled():
        fetch.exception()
