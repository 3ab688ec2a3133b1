"""What a file system can keep is found out without writing to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.remotes import filesystems


def _type_of(path: str | Path) -> str:
    folder = os.open(path, os.O_RDONLY)
    try:
        return filesystems._type_of(folder)
    finally:
        os.close(folder)


def test_the_type_is_that_of_the_mount(tmp_path: Path) -> None:
    """A folder below a mount is on the file system of that mount."""
    assert _type_of("/proc/self") == "proc"
    assert _type_of(tmp_path) not in ("", "proc")


def test_fat_has_neither_modes_nor_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory stick is declared as poor as it is, and nothing is written to find out."""
    monkeypatch.setattr(filesystems, "_type_of", lambda folder: "vfat")
    before = tmp_path.stat().st_ctime_ns
    folder = os.open(tmp_path, os.O_RDONLY)
    found = filesystems.capabilities_of(folder)
    os.close(folder)
    assert not (found.owners or found.modes or found.symlinks or found.hard_links or found.special_files)
    assert found.time_resolution_ns == 2_000_000_000
    assert tmp_path.stat().st_ctime_ns == before
