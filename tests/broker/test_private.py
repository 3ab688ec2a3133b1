"""Folders for the user alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.private import make_private


def test_a_folder_and_all_above_it_are_private(tmp_path: Path) -> None:
    """Whatever the umask, which stays: who could write there could put another mirror in place."""
    umask = os.umask(0)
    try:
        make_private(str(tmp_path / "a/b/c"))
        assert os.umask(0) == 0
    finally:
        os.umask(umask)
    for folder in ("a", "a/b", "a/b/c"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    """A folder keeps its mode, and what is no folder is an error."""
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "file").touch()
    make_private(f"{tmp_path}/open/")
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o755
    for path in ("file", "file/below"):
        with pytest.raises(OSError):
            make_private(str(tmp_path / path))
