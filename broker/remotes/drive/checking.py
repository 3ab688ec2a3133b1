"""A check of a whole tree by who has its keys: names, nodes and chunk lists are opened, content is on request."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator

from msgspec import Struct

from broker.drive.errors import Damaged, DriveError, Missing, NodeChanged
from broker.drive.format.bodies import Body
from broker.drive.format.chunks import CHUNK, CHUNK_OVERHEAD, padded_size
from broker.drive.format.manifest import SPAN, leaf_of
from broker.drive.format.nodes import open_node
from broker.drive.records import NodeId
from broker.remotes.drive.core import Core
from broker.remotes.drive.places import Held
from broker.remotes.drive.scanning import scan
from broker.remotes.paths import Path

_AT_ONCE = 4 * CHUNK


class Checked(Struct, frozen=True):
    """One name that was looked at; `error` is what is wrong with it."""

    path: Path
    node: NodeId
    error: DriveError | None = None


async def check(core: Core, top: Held, *, content: bool) -> AsyncIterator[Checked]:
    """All names below `top`; with `content`, every byte of every file is read. What changes meanwhile is no error."""
    seen: set[NodeId] = set()
    async for found in scan(core, top, verify=True):
        error = found.error
        if found.node is not None and found.node.id not in seen:
            seen.add(found.node.id)
            error = await _wrong_with(core, found.node, content)
        yield Checked(found.path, found.stored.node.id, error)


async def _wrong_with(core: Core, held: Held, content: bool) -> DriveError | None:
    try:
        body = await core.transfers.on_thread(_opened, held)
        if stat.S_ISREG(body.mode) and body.size:
            await _check_content(core, held, body)
            if content:
                await _read(core, held, body)
    except (NodeChanged, Missing):
        return None
    except DriveError as error:
        return error
    return None


def _opened(held: Held) -> Body:
    return open_node(held.stored.node, held.keys, verify=True)


async def _check_content(core: Core, held: Held, body: Body) -> None:
    """Inline content opens; of each chunk there is one of the right size on record, and a key to it."""
    if held.stored.node.inline:
        await core.reading.inline(held.stored.node, body)
        return
    chunks = await core.reading.chunks(held.stored.node, body)
    numbers = (
        [number for number, _ in body.content.refs]
        if body.content.spilled
        else range(leaf_of(body.size // CHUNK) + 1)
    )
    for number in numbers:
        for index, ref in await chunks.span(number):
            size = padded_size(min(CHUNK, body.size - index * CHUNK)) + CHUNK_OVERHEAD
            chunks.key(ref)
            if not number * SPAN <= index < (number + 1) * SPAN or chunks.chunk(ref).size != size:
                raise Damaged(f"chunk {index} is not of its size")


async def _read(core: Core, held: Held, body: Body) -> None:
    offset = 0
    while offset < body.size:
        offset += len(await core.reading.read(held.stored.node, body, offset, _AT_ONCE))
