"""Everything below a folder at once: one recursive question, and names opened from the top down."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from msgspec import Struct

from broker.drive.errors import DriveError, Tampered
from broker.drive.format.entries import open_entry
from broker.drive.records import Entry, NodeId, StoredNode, Token
from broker.remotes.drive.core import Core
from broker.remotes.drive.guard import of_pairs
from broker.remotes.drive.places import Held
from broker.remotes.paths import Path, join

_LIMIT = 50_000
"""Entries that are asked for at once."""

Row = tuple[Entry, StoredNode]


class Found(Struct, frozen=True):
    """One name below the folder that was scanned. `path` ends with the token where the name cannot be opened."""

    path: Path
    folder: Held
    entry: Entry
    stored: StoredNode
    node: Held | None
    error: DriveError | None = None


async def scan(core: Core, top: Held, *, verify: bool = False) -> AsyncIterator[Found]:
    """All names below `top`, each after the folder that it is in. A node with several names comes several times."""
    below = await _rows(core, top)
    waiting = [(b"", top)]
    while waiting:
        path, folder = waiting.pop()
        for found in await core.transfers.on_thread(_opened, path, folder, below.get(folder.id, ()), verify):
            yield found
            if found.node is not None and found.node.is_folder:
                waiting.append((found.path, found.node))


async def _rows(core: Core, top: Held) -> Mapping[NodeId, Sequence[Row]]:
    """What the store has below `top`, by folder."""
    below: dict[NodeId, list[Row]] = defaultdict(list)
    after: tuple[NodeId, Token] | None = None
    while True:
        page = await core.guard.ask(
            functools.partial(core.store.descendants, top.id, after, _LIMIT), lambda page: of_pairs(page.entries)
        )
        for entry, stored in page.entries:
            below[entry.parent].append((entry, stored))
        after = page.after
        if after is None or not page.entries:
            return below


def _opened(path: Path, folder: Held, rows: Sequence[Row], verify: bool) -> list[Found]:
    return list(_open_all(path, folder, rows, verify))


def _open_all(path: Path, folder: Held, rows: Sequence[Row], verify: bool) -> Iterator[Found]:
    for entry, stored in rows:
        try:
            opened = open_entry(entry, folder.keys, verify=verify)
            if entry.child != stored.node.id:
                raise Tampered("the store gave another node than the name leads to")
        except DriveError as error:
            yield Found(join(path, entry.token.hex().encode()), folder, entry, stored, None, error)
        else:
            yield Found(join(path, opened.name), folder, entry, stored, Held(stored, opened.keys))
