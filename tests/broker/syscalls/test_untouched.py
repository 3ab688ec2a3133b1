"""What an open takes back when its descriptor cannot be handed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.syscalls.files import _unlink_untouched


def test_only_our_own_empty_file_is_removed(tmp_path: Path) -> None:
    """Not one that another process has put in its place, nor one that somebody has written to."""
    path = tmp_path / "made"
    path.touch()
    ours = path.stat().st_ino
    path.write_text("written by another")
    with pytest.raises(FileExistsError):
        _unlink_untouched(os.fsencode(path), ours)
    (tmp_path / "other").touch()
    os.rename(tmp_path / "other", path)
    with pytest.raises(FileExistsError):
        _unlink_untouched(os.fsencode(path), ours)
    _unlink_untouched(os.fsencode(path), path.stat().st_ino)
    assert not path.exists()
