"""Content that a node gets: kept beside it when short, else sent as chunks, and never partly there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from broker.drive.format.bodies import Body
from broker.drive.format.chunks import CHUNK, chunk_id, seal_chunk
from broker.drive.format.manifest import Content, Ref, Refs
from broker.drive.metadata.protocol import MetadataStore
from broker.drive.records import INLINE_MAX, Chunk, Node, NodeId, OperationId
from broker.remotes.drive.pieces import read_piece
from broker.remotes.drive.reading import Reading
from broker.remotes.drive.transfers import Transfers
from broker.remotes.drive.uploading import Upload
from broker.remotes.protocol import Step

_PAGE, _BLOCKS_OF_PAGE = 4096, 8
"""What a file takes is told as local file systems do: in whole pages, counted in blocks of 512 bytes."""


class Written(Struct, frozen=True):
    """A body with its new content, and what the store is told of it."""

    body: Body
    chunks: Sequence[Chunk]
    sealed: bytes
    """The content itself where it is kept beside the node."""
    inline: bool


class Writing:
    """Turns local files into content."""

    def __init__(self, store: MetadataStore, transfers: Transfers, reading: Reading) -> None:
        self._store = store
        self._transfers = transfers
        self._reading = reading

    async def write(
        self,
        id: NodeId,
        home: NodeId,
        body: Body,
        base: Node | None,
        source: int,
        operation: OperationId,
        step: Step,
        *,
        durable: bool,
    ) -> Written:
        """`body`, which is that of the version `base` if there is one, with the content of `source`."""
        size = os.fstat(source).st_size
        keys = body.content.keys or {1: os.urandom(32)}
        body = replace(body, size=size)
        if size <= INLINE_MAX:
            written = _inline(id, body, keys, read_piece(source, 0, CHUNK, size))
            step(size)
            return written
        has_chunks = base is not None and not base.inline and len(body.content.refs) > 0
        before = await self._reading.chunks(base, body) if base and has_chunks else None
        upload = Upload(self._store, self._transfers, id, home, keys, operation, before, durable=durable)
        # A descriptor of its own: holes are looked for by moving its position.
        file = os.open(f"/proc/self/fd/{source}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            sent = await upload.send(file, size, step)
        finally:
            os.close(file)
        return Written(replace(body, content=sent.content, blocks=_blocks(sent.stored)), sent.chunks, b"", False)


def _inline(id: NodeId, body: Body, keys: Mapping[int, bytes], data: bytes) -> Written:
    if not data:
        return Written(replace(body, content=Content(keys), blocks=0), (), b"", False)
    epoch = max(keys)
    chunk = chunk_id(keys[epoch], 0, data)
    content = Content(keys, Refs.of({0: Ref(chunk, epoch)}))
    sealed = bytes(seal_chunk(keys[epoch], id, chunk, data))
    return Written(replace(body, content=content, blocks=_blocks(len(data))), (), sealed, True)


def _blocks(size: int) -> int:
    return -(-size // _PAGE) * _BLOCKS_OF_PAGE
