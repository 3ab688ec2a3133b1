"""Listings: a page from the store, and the names and attributes in it opened."""

from __future__ import annotations

from collections.abc import Sequence

from broker.drive.metadata.protocol import Listed
from broker.drive.records import Token
from broker.remotes.drive.core import Core
from broker.remotes.drive.guard import of_node, of_pairs
from broker.remotes.drive.nodes import attributes_of
from broker.remotes.drive.places import Held
from broker.remotes.protocol import Entry

_PAGE = 1000


async def listed_page(core: Core, folder: Held, after: Token | None) -> Listed:
    """The next page of a folder, from the store."""
    return await core.guard.ask(
        lambda: core.store.list(folder.id, after, _PAGE),
        lambda listed: [of_node(listed.folder.node), *of_pairs(listed.entries)],
    )


def opened_page(core: Core, folder: Held, listed: Listed) -> Sequence[Entry]:
    """One page of a listing. What cannot be opened is an error of the whole: nothing is left out silently."""
    reader = Held(folder.stored, folder.keys.for_reading)  # the seeds of 100,000 nodes are of no use here
    entries = []
    for entry, stored in listed.entries:
        opened = core.walk.open(reader, entry, verify=False)
        held = Held(stored, opened.keys)
        entries.append(Entry(opened.name, attributes_of(stored, core.bodies.open(held, verify=False))))
    return entries
