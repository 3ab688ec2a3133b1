"""Room that is put by: there, freed once, and filled again by the next who opens the drive."""

from __future__ import annotations

from pathlib import Path

from broker.drive.reserve import SIZE, Reserve


def test_it_is_spent_once_and_filled_again(tmp_path: Path) -> None:
    """By any session; nothing is said to be freed where nothing was."""
    first, second = Reserve(str(tmp_path)), Reserve(str(tmp_path))
    assert not first.spend()
    first.fill()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= SIZE
    assert second.spend() and not first.spend()
    assert (tmp_path / "reserve").stat().st_blocks == 0
    second.fill()
    assert first.spend()


def test_a_folder_that_is_gone_is_nobodys_error(tmp_path: Path) -> None:
    """The drive itself says what is wrong with it."""
    reserve = Reserve(str(tmp_path / "gone"))
    reserve.fill()
    assert not reserve.spend()
