"""All that is below a folder: by how many questions, and that nothing is left out at the end of a page."""

from __future__ import annotations

import pytest

from broker.drive.metadata.protocol import Below
from broker.drive.records import NodeId, Token
from broker.remotes.drive.scanning import scan

from ..helpers import NOTHING, put
from .doubles import MemoryStore
from .drives import Drive, drive


class Sparing(MemoryStore):
    """Gives at most `most` entries at once, whatever it is asked for."""

    most = 1 << 20

    async def descendants(
        self, folder: NodeId, after: tuple[NodeId, Token] | None = None, limit: int = 4000
    ) -> Below:
        return await super().descendants(folder, after, min(limit, self.most))


async def filled() -> tuple[Drive, Sparing, set[bytes]]:
    """A drive with folders and files, its store, and their paths."""
    empty = drive()
    store = Sparing(empty.store.rows[empty.store.root].node)
    own = drive(empty.identity, store)
    paths = set()
    for folder in (b"a", b"a/b", b"c"):
        await own.remote.mkdir(folder, NOTHING)
        paths.add(folder)
        for name in (b"1", b"2", b"3"):
            await put(own.remote, folder + b"/" + name)
            paths.add(folder + b"/" + name)
    return own, store, paths


@pytest.mark.parametrize(("most", "asked"), [(1000, 1), (12, 1), (11, 2), (5, 3), (1, 12)])
async def test_as_many_questions_as_pages(most: int, asked: int) -> None:
    """Every name is found once, and the store is not asked again after its last page, however full that is."""
    own, store, paths = await filled()
    store.most = most
    top = await own.remote.places.existing(b"")
    store.asked.clear()
    found = [each.path async for each in scan(own.core, top)]
    assert sorted(found) == sorted(paths)
    assert store.asked["descendants"] == asked
