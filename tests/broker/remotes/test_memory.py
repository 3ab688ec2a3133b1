"""The model and the decorator over it do what every remote must."""

from __future__ import annotations

import pytest

from broker.remotes.protocol import Remote

from .conformance import Conformance
from .faults import Faulty
from .memory import Memory
from .plans import Plan


class TestMemory(Conformance):
    @pytest.fixture
    def remote(self) -> Remote:
        return Memory()


class TestFaultyMemory(Conformance):
    @pytest.fixture
    def remote(self) -> Remote:
        return Faulty(Memory(), Plan())
