"""Shares that are taken back while other things happen, or not to the end."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from broker.drive.errors import Missing
from broker.drive.metadata.protocol import Commit
from broker.drive.records import Right

from ..helpers import content_of, names_in
from .team import killed_before, team


async def test_killed_at_any_commit(tmp_path: Path) -> None:
    """Either nothing has happened yet, or the server refuses at once, and what is left is finished later."""
    async with team(tmp_path) as t:
        node = (await t.alice.place(b"alice/report")).required().id
        bob = t.bob.identity.user_id
        for number in count():
            await t.share(b"alice/report", Right.WRITE)
            left = number

            def is_last(_: Commit) -> bool:
                nonlocal left
                left -= 1
                return left < 0

            with killed_before(t.alice, is_last):
                await t.alice.sharing.unshare(await t.alice.place(b"alice/report"), bob)
            if number == 0:
                assert await t.alice.sharing.resume() == 0
                assert await content_of(t.bob.remote, b"alice/report/short") == b"the text"
                continue
            with pytest.raises(Missing):
                await t.bob.core.store.list(node)
            assert await t.alice.sharing.resume() == max(5 - number, 0)
            assert await t.alice.core.store.grants(node) == []
            assert await names_in(t.alice.remote, b"alice/report") == [b"deep", b"short"]
            if left >= 0:
                return
