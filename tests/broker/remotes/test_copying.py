"""Content is copied inside the kernel, by either of its two ways, with its holes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.remotes.copying import copy

BLOCK = 1 << 16
PIECES = st.lists(st.one_of(st.none(), st.binary(min_size=1, max_size=50)), max_size=6)


@pytest.fixture(params=["copy_file_range", "sendfile"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a file system; and as across file systems, where copy_file_range(2) says EXDEV."""

    def refuse(*_: int) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    if request.param == "sendfile":
        monkeypatch.setattr(os, "copy_file_range", refuse)


@pytest.mark.usefixtures("way")
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=PIECES, rest=st.integers(0, 3 * BLOCK), position=st.integers(0, BLOCK))
def test_a_copy_is_equal(tmp_path: Path, pieces: list[bytes | None], rest: int, position: int) -> None:
    """Whatever is data and whatever is hole, the copy reads the same, and the position of the source stays."""
    source = os.open(tmp_path / "source", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    destination = os.open(tmp_path / "destination", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        for number, piece in enumerate(pieces):
            os.pwrite(source, piece or b"", number * BLOCK)
        os.ftruncate(source, os.fstat(source).st_size + rest)
        os.lseek(source, position, os.SEEK_SET)
        copy(source, destination)
        assert os.lseek(source, 0, os.SEEK_CUR) == position
        assert (tmp_path / "destination").read_bytes() == (tmp_path / "source").read_bytes()
    finally:
        os.close(source)
        os.close(destination)


@pytest.mark.usefixtures("way")
def test_holes_are_not_filled(tmp_path: Path) -> None:
    """A terabyte with two bytes of data is copied at once and takes no room."""
    size = 1 << 40
    with (tmp_path / "source").open("w+b") as source, (tmp_path / "destination").open("w+b") as destination:
        os.pwrite(source.fileno(), b"1", size // 2)
        os.pwrite(source.fileno(), b"2", 0)
        os.ftruncate(source.fileno(), size)
        copy(source.fileno(), destination.fileno())
        status = os.fstat(destination.fileno())
        assert status.st_size == size and status.st_blocks * 512 < 1 << 20
        assert os.pread(destination.fileno(), 2, size // 2) == b"1\0"


def test_without_seek_data_all_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system cannot tell holes from data, the content still arrives."""
    lseek = os.lseek

    def no_holes(file: int, offset: int, whence: int) -> int:
        if whence in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(errno.EINVAL, "Invalid argument")
        return lseek(file, offset, whence)

    with (tmp_path / "source").open("w+b") as source, (tmp_path / "destination").open("w+b") as destination:
        os.pwrite(source.fileno(), b"end", 1 << 20)
        with monkeypatch.context() as patched:
            patched.setattr(os, "lseek", no_holes)
            copy(source.fileno(), destination.fileno())
        assert (tmp_path / "destination").read_bytes() == b"\0" * (1 << 20) + b"end"
