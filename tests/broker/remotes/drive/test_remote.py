"""The drive does what every remote must, on stores in memory."""

from __future__ import annotations

import pytest

from broker.drive.errors import StoreFull
from broker.drive.metadata.protocol import Commit, Committed
from broker.remotes.protocol import NoSpace, Remote

from ..conformance import Conformance
from ..helpers import NOTHING, put
from .drives import drive


class TestDrive(Conformance):
    @pytest.fixture
    def remote(self) -> Remote:
        return drive().remote


async def test_what_got_a_name_is_described_without_asking_anew() -> None:
    """rename and link say what a stat would, with the number of names and the identity; each looks up two names."""
    own = drive()
    await put(own.remote, b"f", b"content")
    for change, old, new in ((own.remote.rename, b"f", b"g"), (own.remote.link, b"g", b"h")):
        asked = own.store.asked["lookup"]
        said = await change(old, new)
        assert own.store.asked["lookup"] - asked == 2
        assert said == await own.remote.stat(new)


async def test_a_full_store_lets_names_be_removed() -> None:
    """With the room that was put by, which nothing else gets."""
    own = drive()
    await put(own.remote, b"f", b"1")
    await own.remote.mkdir(b"d", NOTHING)
    spent: list[bool] = []
    commit = own.store.commit

    async def full(asked: Commit) -> Committed:
        if not spent:
            raise StoreFull("no room")
        return await commit(asked)

    def spend() -> bool:
        spent.append(True)
        return True

    own.core.commits._spend = spend
    own.store.commit = full  # type: ignore[method-assign]
    for change in (own.remote.mkdir(b"e", NOTHING), own.remote.rename(b"f", b"g")):
        with pytest.raises(NoSpace):
            await change
    assert not spent
    await own.remote.remove(b"f")
    await own.remote.rmdir(b"d")
    assert spent == [True]
