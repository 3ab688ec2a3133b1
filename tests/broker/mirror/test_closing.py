"""Closings: the last close of a written file is announced, wherever the file is by then."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.mirror.closing import Closings


@pytest.fixture
def closings() -> Iterator[Closings]:
    closings = Closings()
    yield closings
    closings.close()


def watch(closings: Closings, path: Path, ino: int) -> int:
    file = os.open(path, os.O_PATH)
    try:
        return closings.watch(file, ino)
    finally:
        os.close(file)


def write_and_close(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"x")


def test_closes_of_writers_are_announced(tmp_path: Path, closings: Closings) -> None:
    """With the number that the watch was given; those of readers are not."""
    path = tmp_path / "file"
    path.touch()
    watch(closings, path, 7)
    path.read_bytes()
    assert list(closings.take()) == []
    write_and_close(path)
    assert list(closings.take()) == [7]
    assert list(closings.take()) == []


def test_a_watch_survives_rename_and_removal(tmp_path: Path, closings: Closings) -> None:
    """It is on the inode: whoever still writes to a renamed or removed file is heard."""
    path = tmp_path / "file"
    writer = os.open(path, os.O_WRONLY | os.O_CREAT)
    watch(closings, path, 7)
    path.rename(tmp_path / "other")
    write_and_close(tmp_path / "other")
    assert list(closings.take()) == [7]
    (tmp_path / "other").unlink()
    os.close(writer)
    assert list(closings.take()) == [7]


def test_the_end_of_a_process_is_a_close(tmp_path: Path, closings: Closings) -> None:
    """It is announced before its parent has waited for it."""
    path = tmp_path / "file"
    path.touch()
    watch(closings, path, 7)
    script = "import os, sys; os.open(sys.argv[1], os.O_WRONLY); os._exit(0)"
    subprocess.run([sys.executable, "-c", script, path], check=True)
    assert list(closings.take()) == [7]


def test_what_is_no_longer_watched_is_silent(tmp_path: Path, closings: Closings) -> None:
    """Neither events from before nor those after the end of a watch come through; nor a second end of it."""
    path = tmp_path / "file"
    path.touch()
    number = watch(closings, path, 7)
    write_and_close(path)
    closings.unwatch(number)
    closings.unwatch(number)
    write_and_close(path)
    assert list(closings.take()) == []


def test_a_lost_event_is_said(tmp_path: Path, closings: Closings) -> None:
    """After an overflow of the queue None comes: look at all. Equal events in a row are one, so files alternate."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for name in ("a", "b"):
        (tmp_path / name).touch()
    files = [tmp_path / "a", tmp_path / "b"]
    for number, path in enumerate(files):
        watch(closings, path, number)
    for number in range(limit + 2):
        os.close(os.open(files[number % 2], os.O_WRONLY))
    taken = list(closings.take())
    assert None in taken
    assert set(taken) == {0, 1, None}


def test_a_bad_descriptor_is_an_error(closings: Closings) -> None:
    """With its errno."""
    with pytest.raises(OSError) as caught:
        closings.watch(9999, 1)
    assert caught.value.errno == errno.ENOENT
