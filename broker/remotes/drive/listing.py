"""Listings: a page from the store, and the names and attributes in it opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from broker.drive.format.entries import open_name
from broker.drive.format.nodes import open_listed
from broker.drive.metadata.protocol import Listed
from broker.drive.records import Token
from broker.remotes.drive.core import Core
from broker.remotes.drive.guard import of_node, of_pairs
from broker.remotes.drive.nodes import attributes_of
from broker.remotes.drive.places import Held
from broker.remotes.protocol import Entry

_FEW, _PAGE = 32, 1000
_ANEW = 8
"""Times that a listing begins anew because its folder's keys have been changed."""


async def listing(core: Core, folder: Held, again: Callable[[], Awaitable[Held]]) -> AsyncIterator[Sequence[Entry]]:
    """The entries of a folder, page by page; `again` looks it up anew."""
    after: Token | None = None
    given: set[bytes] = set()
    anew = 0
    while True:
        listed = await _page(core, folder, after)
        if listed.folder.node.epoch != folder.stored.node.epoch and anew < _ANEW:
            # Its keys have been changed, and so the tokens by which its pages are ordered.
            folder, after, anew = await again(), None, anew + 1
            continue
        entries = await _open(core, folder, listed)
        if anew:
            entries = [entry for entry in entries if entry.name not in given]
        given.update(entry.name for entry in entries)
        if entries:
            yield entries
        after = listed.after
        if after is None:
            return


async def _page(core: Core, folder: Held, after: Token | None) -> Listed:
    """The next page, from the store."""
    return await core.guard.ask(
        lambda: core.store.list(folder.id, after, _PAGE),
        lambda listed: [of_node(listed.folder.node), *of_pairs(listed.entries)],
    )


async def _open(core: Core, folder: Held, listed: Listed) -> Sequence[Entry]:
    """The page, opened: a short one sooner than a thread would wake."""
    if len(listed.entries) <= _FEW:
        return _opened(folder, listed)
    return await core.transfers.on_thread(_opened, folder, listed)


def _opened(folder: Held, listed: Listed) -> Sequence[Entry]:
    """What cannot be opened is an error of the whole: nothing is left out silently.

    Signatures are not looked at: they would cost more than all else.
    """
    entries = []
    for entry, stored in listed.entries:
        name, read, _ = open_name(entry, folder.keys)
        entries.append(Entry(name, attributes_of(stored, open_listed(stored.node, read))))
    return entries
