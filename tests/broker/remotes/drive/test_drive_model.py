"""Two clients of one drive, in turn, against the model: random operations, the same outcomes, the same trees."""

from __future__ import annotations

import itertools

from broker.remotes.protocol import Remote

from ..test_model import SETTINGS, Comparison
from .drives import drive


class DriveComparison(Comparison):
    """What one client remembers must not keep it from what the other one has changed."""

    def __init__(self) -> None:
        super().__init__()
        first = drive()
        second = drive(first.identity, first.store, first.blobs)
        self.turns = itertools.cycle([first.remote, second.remote])

    def client(self) -> Remote:
        return next(self.turns)


DriveComparison.TestCase.settings = SETTINGS
TestDriveComparison = DriveComparison.TestCase
