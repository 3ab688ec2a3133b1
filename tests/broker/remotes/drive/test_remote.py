"""The drive does what every remote must, on stores in memory."""

from __future__ import annotations

import pytest

from broker.remotes.protocol import Remote

from ..conformance import Conformance
from .drives import drive


class TestDrive(Conformance):
    @pytest.fixture
    def remote(self) -> Remote:
        return drive().remote
