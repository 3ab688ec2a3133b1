"""The drive does what every remote must, on stores in memory."""

from __future__ import annotations

import pytest

from broker.remotes.protocol import Remote

from ..conformance import Conformance
from ..helpers import put
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
