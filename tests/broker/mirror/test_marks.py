"""Marks outlive their session, also one that is killed, until they are taken back."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.mirror import marks as module
from broker.mirror.marks import Marks
from broker.remotes.protocol import Version


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path)


def killed(marks: Marks) -> None:
    """End the session as kill -9 does: nothing is written, and the lock goes."""
    os.close(marks._file)


def left(directory: str) -> dict[int, Version]:
    with closing(Marks(directory)) as marks:
        return marks.left()


def test_what_was_set_and_not_cleared_is_left(directory: str) -> None:
    """With the version that was set last, whatever it looks like; for the next session, and the one after it."""
    marks = Marks(directory)
    for ino, version in ((1, "a"), (2, "b:c/d e"), (3, "c"), (1, "\udcff")):
        marks.set(ino, Version(version))
    marks.clear(3)
    marks.clear(4)
    assert left(directory) == {}
    killed(marks)
    expected = {1: "\udcff", 2: "b:c/d e"}
    assert left(directory) == expected
    with closing(Marks(directory)) as marks:
        assert marks.left() == expected
        for ino in expected:
            marks.clear(ino)
    assert os.listdir(os.path.join(directory, "marks")) == []


def test_sessions_do_not_take_over_the_living(directory: str) -> None:
    """The marks of a session that goes on stay its own."""
    with closing(Marks(directory)) as one, closing(Marks(directory)) as two:
        one.set(1, Version("1"))
        two.set(2, Version("2"))
        assert one.left() == two.left() == {}
    assert left(directory) == {1: "1", 2: "2"}


def test_a_long_file_is_written_anew(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of months does not fill the disk, and loses nothing."""
    monkeypatch.setattr(module, "_LONG", 1000)
    marks = Marks(directory)
    for number in range(1000):
        marks.set(number % 10, Version(str(number)))
    (name,) = os.listdir(os.path.join(directory, "marks"))
    assert os.path.getsize(os.path.join(directory, "marks", name)) < 2000
    killed(marks)
    assert left(directory) == {number % 10: str(number) for number in range(990, 1000)}


@given(data=st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_damaged_lines_are_none(directory: str, data: bytes) -> None:
    """What is whole is found, whatever stands around it."""
    marks = Marks(directory)
    os.write(marks._file, data + b"\n")
    marks.set(1, Version("1"))
    killed(marks)
    assert left(directory)[1] == "1"
    for name in os.listdir(os.path.join(directory, "marks")):
        os.unlink(os.path.join(directory, "marks", name))
