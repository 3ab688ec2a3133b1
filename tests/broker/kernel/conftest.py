"""A program for the tests of the lane."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tracee import Probe, probing


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[Probe]:
    """A program in tmp_path, with prefixes /drive and /deep/er/drive and a mirror in tmp_path."""
    (tmp_path / "mirror" / "sub").mkdir(parents=True)
    (tmp_path / "mirror" / "file").touch()
    with probing(
        directories=[b"/drive", b"/deep/er/drive"], mirrors=[bytes(tmp_path / "mirror")], parents=[b"/", b"/deep/er"]
    ) as probe:
        probe.ask("chdir", bytes(tmp_path))
        yield probe
