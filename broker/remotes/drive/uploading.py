"""Content on its way up: pieces of a file become chunks; those that the base version has stay where they are."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from broker.drive.blobs.pipeline import in_order
from broker.drive.format.chunks import CHUNK, CHUNK_OVERHEAD, chunk_id, padded_size, seal_chunk
from broker.drive.format.manifest import Content, ContentBuilder, Ref, Refs, leaf_id, leaf_of, seal_leaf
from broker.drive.metadata.protocol import MetadataStore
from broker.drive.records import BlobName, Chunk, NodeId, OperationId
from broker.remotes.drive.chunklist import ChunkList
from broker.remotes.drive.pieces import data_in, read_piece, with_data
from broker.remotes.drive.transfers import Transfers
from broker.remotes.protocol import Step

WINDOW = 8
"""Chunks that are announced and sent together."""
WINDOWS = 2
"""Windows on their way at once: plaintext and sealed bytes are 2 MiB for each chunk in them."""

_ZEROS = bytes(CHUNK)


class Uploaded(Struct, frozen=True):
    """What the new version refers to. `stored` counts the bytes that are no holes."""

    content: Content
    chunks: Sequence[Chunk]
    stored: int


class _Piece(Struct, frozen=True):
    """One chunk of the new version; without `sealed` the store has it already. `chunk` is None for a hole."""

    index: int
    length: int
    stored: int = 0
    """How many of its bytes are no holes."""
    ref: Ref | None = None
    chunk: Chunk | None = None
    sealed: memoryview | None = None


class Upload:
    """One file under way. What was sent is referred to by nothing until the node is committed."""

    def __init__(
        self,
        store: MetadataStore,
        transfers: Transfers,
        node: NodeId,
        home: NodeId,
        keys: Mapping[int, bytes],
        operation: OperationId,
        base: ChunkList | None,
        *,
        durable: bool,
    ) -> None:
        self._store = store
        self._transfers = transfers
        self._node = node
        self._home = home
        self._keys = keys
        self._epoch = max(keys)
        self._operation = operation
        self._base = base
        self._durable = durable
        self._chunks: dict[bytes, Chunk] = {}
        self._stored = 0

    async def send(self, file: int, size: int, step: Step) -> Uploaded:
        """All of `file`, a descriptor whose position moves."""
        builder = ContentBuilder(self._keys)
        for number, indexes in itertools.groupby(with_data(file, size, CHUNK), leaf_of):
            refs = await self._send_span(file, size, number, indexes, step)
            for leaf, below in builder.add(number, refs):
                builder.stored(leaf, await self._send_leaf(leaf, below))
        return Uploaded(builder.finish(), list(self._chunks.values()), self._stored)

    async def _send_span(self, file: int, size: int, number: int, indexes: Iterator[int], step: Step) -> Refs:
        """The chunks under one leaf."""
        before = await self._base.span(number) if self._base else Refs()
        found: dict[int, Ref] = {}
        windows = iter(lambda: list(itertools.islice(indexes, WINDOW)), [])
        send = functools.partial(self._send_window, file, size, before)
        async with contextlib.aclosing(in_order(windows, send, ahead=WINDOWS)) as sent:
            async for pieces in sent:
                for piece in pieces:
                    if piece.ref and piece.chunk:
                        found[piece.index] = piece.ref
                        self._chunks[piece.ref.id] = piece.chunk
                        self._stored += piece.stored
                    step(piece.length)
        return Refs.of(found)

    async def _send_window(self, file: int, size: int, before: Refs, window: Sequence[int]) -> Sequence[_Piece]:
        on_thread = self._transfers.on_thread
        pieces = await asyncio.gather(
            *(on_thread(self._prepare, file, size, index, before.get(index)) for index in window)
        )
        new = [(piece.chunk, piece.sealed) for piece in pieces if piece.chunk and piece.sealed is not None]
        await self._put(new)
        await self._keep(piece.chunk for piece in pieces if piece.chunk and piece.sealed is None)
        return [replace(piece, sealed=None) for piece in pieces]

    async def _put(self, new: Sequence[tuple[Chunk, memoryview]]) -> None:
        if new:
            await self._store.reserve(self._operation, [chunk for chunk, _ in new], self._home)
            put = self._transfers.blobs.put
            await asyncio.gather(*(put(chunk.blob, sealed, durable=self._durable) for chunk, sealed in new))

    async def _keep(self, chunks: Iterable[Chunk]) -> None:
        """What the base version has may have been sent by a close(2), and not be durable yet."""
        if self._durable:
            await self._transfers.blobs.settle([chunk.blob for chunk in chunks])

    def _prepare(self, file: int, size: int, index: int, before: Ref | None) -> _Piece:
        """Read, compare and seal; on a thread."""
        data = read_piece(file, index, CHUNK, size)
        if data == _ZEROS[: len(data)]:
            return _Piece(index, len(data))
        stored = data_in(file, index * CHUNK, index * CHUNK + len(data))
        if before and self._base and chunk_id(self._base.key(before), index, data) == before.id:
            return _Piece(index, len(data), stored, before, self._base.chunk(before))
        key = self._keys[self._epoch]
        id = chunk_id(key, index, data)
        sealed = seal_chunk(key, self._node, id, data)
        return _Piece(index, len(data), stored, Ref(id, self._epoch), _chunk(id, len(sealed)), sealed)

    async def _send_leaf(self, number: int, refs: Refs) -> Ref:
        """A part of the chunk list itself, which is left alone like a chunk when nothing in it has changed."""
        before = self._base.content.refs.get(number) if self._base and self._base.content.spilled else None
        if before and self._base and leaf_id(self._base.key(before), number, refs) == before.id:
            kept = self._chunks[before.id] = self._base.chunk(before)
            await self._keep([kept])
            return before
        id, sealed = seal_leaf(self._keys[self._epoch], self._node, number, refs)
        chunk = self._chunks[id] = _chunk(id, len(sealed))
        await self._put([(chunk, sealed)])
        return Ref(id, self._epoch)


def sealed_size(length: int) -> int:
    """Bytes of the blob of a chunk."""
    return padded_size(length) + CHUNK_OVERHEAD


def _chunk(id: bytes, size: int) -> Chunk:
    return Chunk(id, BlobName(os.urandom(16).hex()), size)
