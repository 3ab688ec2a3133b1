"""Calls on descriptors that the lane leaves to the kernel: an fstat, and changes that a close will push."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from vouched import Setting, setting_of

from broker.table import RANGE_END, RANGE_START

CHANGES: dict[str, tuple[Any, ...]] = {"fchmod": (0o640,), "fchown": (-1, -1), "utime": ((1, 2),)}
"""Calls on a descriptor, with what they are given."""


def opened_at(number: int, path: str, flags: int) -> None:
    file = os.open(path, flags)
    os.dup2(file, number)
    os.close(file)


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with setting_of(tmp_path, {"opened_at": opened_at}) as made:
        yield made


def written(setting: Setting, *, number: int = RANGE_START, flags: int = os.O_WRONLY, **node: Any) -> int:
    """A descriptor of a file in the mirror that is vouched for as dirty, unless `node` says otherwise."""
    path = setting.tree / "d/file"
    setting.probe.ask("opened_at", number, str(path), flags)
    how = {"nlink": None, "blocks": None, "set_id": 0, "dirty": True} | node
    setting.drive.node(path.stat().st_ino, **how)
    return number


@pytest.mark.parametrize("call", CHANGES)
def test_of_a_file_that_is_being_written(setting: Setting, call: str) -> None:
    """It is made, and nobody was asked, at both ends of the range."""
    for number in (RANGE_START, RANGE_END):
        file = written(setting, number=number)
        assert not setting.handed_over(call, file, *CHANGES[call])
    status = (setting.tree / "d/file").stat()
    if call == "fchmod":
        assert status.st_mode & 0o7777 == 0o640
    if call == "utime":
        assert status.st_mtime == 2


@pytest.mark.parametrize("call", CHANGES)
@pytest.mark.parametrize(
    "how",
    [
        {"dirty": False},
        {"set_id": 0o4000},
        {"flags": os.O_RDONLY},
        {"number": RANGE_START - 1},
        {"number": RANGE_END + 1},
    ],
    ids=str,
)
def test_what_no_close_would_push(setting: Setting, call: str, how: dict[str, Any]) -> None:
    """The file is clean, has bits that only the remote keeps, or the descriptor has a close that pushes nothing."""
    assert setting.handed_over(call, written(setting, **how), *CHANGES[call])


@pytest.mark.parametrize("call", CHANGES)
def test_what_is_not_known(setting: Setting, call: str) -> None:
    """Nothing is vouched for, or another session has changed the ledger since."""
    file = written(setting)
    setting.shared[9] = 1
    assert setting.handed_over(call, file, *CHANGES[call])
    setting.shared[9] = 0
    assert not setting.handed_over(call, file, *CHANGES[call])
    setting.drive.forget_nodes()
    assert setting.handed_over(call, file, *CHANGES[call])


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6644])
def test_set_id_bits_are_the_brokers(setting: Setting, mode: int) -> None:
    """A mirror is nosuid."""
    assert setting.handed_over("fchmod", written(setting), mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_new_owner_is_the_brokers(setting: Setting) -> None:
    """A push compares no owners; the owner that the file has already is none."""
    file, status = written(setting), (setting.tree / "d/file").stat()
    assert not setting.handed_over("fchown", file, status.st_uid, status.st_gid)
    assert setting.handed_over("fchown", file, status.st_uid + 1, -1)
    assert setting.handed_over("fchown", file, -1, status.st_gid + 1)


def test_a_path_is_none_of_it(setting: Setting) -> None:
    """utimensat(2) with a path is about that file."""
    written(setting)
    assert setting.handed_over("utime", "/drive/d/file", (1, 2))


def test_a_file_outside_of_every_mirror(setting: Setting, tmp_path: Path) -> None:
    """Whatever its inode number is: it is the kernel's, without a look at the node."""
    other = tmp_path / "other"
    other.touch()
    setting.probe.ask("opened_at", RANGE_START, str(other), os.O_WRONLY)
    setting.drive.node(other.stat().st_ino, None, None, 0o4000, True)
    assert not setting.handed_over("fchmod", RANGE_START, 0o600)


def test_a_stat_of_an_open_file(setting: Setting) -> None:
    """As fstat(3) makes it. Of one with set-id bits, or of which nothing is known, the broker is asked."""
    folder = setting.probe.ask("open", setting.tree / "d", os.O_RDONLY)[0]
    file = setting.probe.ask("open", setting.tree / "d/file", os.O_RDONLY)[0]
    assert setting.answered("fstat", folder) == tuple((setting.tree / "d").stat())
    assert setting.handed_over("fstat", file)
    setting.vouch("d/file")
    assert setting.answered("fstat", file) == tuple((setting.tree / "d/file").stat())
    setting.drive.node((setting.tree / "d/file").stat().st_ino, None, None, 0o4000, False)
    assert setting.handed_over("fstat", file)
    setting.vouch("d/file")
    (setting.tree / "d/file").unlink()
    assert setting.answered("fstat", file)[3] == 0
