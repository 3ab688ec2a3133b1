"""Listings of a folder that changes meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

from broker.remotes.listing import Listing


def test_what_vanishes_is_left_out(tmp_path: Path) -> None:
    """Names that are gone when their turn comes are no error."""
    for number in range(20):
        (tmp_path / str(number)).touch()
    listing = Listing(lambda: os.open(tmp_path, os.O_RDONLY))
    first = listing.page(3)
    assert len(first) == 3
    for name in os.listdir(tmp_path):
        (tmp_path / name).unlink()
    assert listing.page(100) == []
    listing.close()


def test_a_closed_listing_is_at_its_end(tmp_path: Path) -> None:
    """Nothing is opened for a listing that was closed first, and closing twice is harmless."""
    opened = []

    def open_folder() -> int:
        opened.append(os.open(tmp_path, os.O_RDONLY))
        return opened[-1]

    listing = Listing(open_folder)
    listing.close()
    listing.close()
    assert (listing.page(10), opened) == ([], [])
