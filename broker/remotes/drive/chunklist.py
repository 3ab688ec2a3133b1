"""The chunk list of one version of a file, as it is in the store: leaves are fetched when they are asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from broker.drive.errors import Damaged, Missing
from broker.drive.format.manifest import SPAN, Content, Ref, Refs, leaf_of, open_leaf
from broker.drive.records import Chunk, NodeId
from broker.remotes.drive.transfers import Transfers


class ChunkList:
    """Which chunk is where. `chunks` are what the store says that the content refers to; one leaf is kept."""

    def __init__(
        self,
        transfers: Transfers,
        node: NodeId,
        content: Content,
        chunks: Sequence[Chunk],
        check: Callable[[], Awaitable[None]],
    ) -> None:
        """`check` raises NodeChanged when the store has gone on to another version."""
        self._transfers = transfers
        self._check = check
        self._node = node
        self._chunks = {chunk.id: chunk for chunk in chunks}
        self._leaf: tuple[int, Refs] = -1, Refs()
        self.content = content

    async def span(self, number: int) -> Refs:
        """The references of the chunks from number * SPAN on."""
        content = self.content
        if not content.spilled:
            return content.refs.between(number * SPAN, (number + 1) * SPAN)
        if self._leaf[0] != number:
            leaf = content.refs.get(number)
            self._leaf = number, await self._open_leaf(number, leaf) if leaf else Refs()
        return self._leaf[1]

    async def get(self, index: int) -> Ref | None:
        """Of one chunk; None for a hole."""
        return (await self.span(leaf_of(index))).get(index)

    def chunk(self, ref: Ref) -> Chunk:
        """Where it is in the store. Damaged when the store knows of no such chunk."""
        try:
            return self._chunks[ref.id]
        except KeyError:
            raise Damaged("a chunk of it is not in the store") from None

    async def sealed(self, ref: Ref) -> bytes:
        """Its blob, as it is in the store. When it is not there, NodeChanged if the file has been removed or changed
        since, or Damaged."""
        try:
            return await self._transfers.blobs.get(self.chunk(ref).blob)
        except Missing:
            await self._check()
            raise Damaged("a chunk of it is gone from the store") from None

    def key(self, ref: Ref) -> bytes:
        try:
            return self.content.keys[ref.epoch]
        except KeyError:
            raise Damaged(f"there is no content key of epoch {ref.epoch}") from None

    async def _open_leaf(self, number: int, leaf: Ref) -> Refs:
        sealed = await self.sealed(leaf)
        return await self._transfers.on_thread(open_leaf, self.key(leaf), self._node, number, leaf.id, sealed)
