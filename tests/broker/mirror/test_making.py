"""Many nodes of one folder made in a row by the native part."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.mirror import making
from broker.remotes.protocol import Attributes

from .placeholders import TIME, attributes, file, folder

LONG = 60.0


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path, os.O_PATH)
    yield opened
    os.close(opened)


KINDS = {
    "file": file(0o640, size=10_000),
    "empty file": file(0),
    "set-id file": file(0o6755),
    "early file": file(mtime_ns=-1, atime_ns=-(10**9) - 1),
    "folder": folder(0o2750),
    "symlink": attributes(stat.S_IFLNK, 0o777, target=b"some/where"),
    "FIFO": attributes(stat.S_IFIFO, 0o622),
}


@pytest.mark.parametrize("wanted", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("umask", [0o022, 0o777])
def test_they_are_what_is_wanted(directory: int, wanted: Attributes, umask: int) -> None:
    """Kind, mode without a file's set-id bits and whatever the umask is, size, times, owner, inode number."""
    before = os.umask(umask)
    try:
        (made,) = making.place(directory, [(b"a", wanted)], True, LONG)
    finally:
        os.umask(before)
    found = os.stat(b"a", dir_fd=directory, follow_symlinks=False)
    dropped = 0 if wanted.is_directory else stat.S_ISUID | stat.S_ISGID
    assert (found.st_ino, found.st_mode) == (made, wanted.mode & ~dropped)
    assert (found.st_mtime_ns, found.st_atime_ns) == (wanted.mtime_ns, wanted.atime_ns)
    assert (found.st_uid, found.st_gid) == (wanted.uid, wanted.gid)
    if wanted.is_symlink:
        assert os.readlink(b"a", dir_fd=directory) == wanted.target
    elif wanted.is_regular:
        assert (found.st_size, found.st_blocks) == (wanted.size, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives nodes away")
@pytest.mark.parametrize("owners", [True, False])
def test_owners(directory: int, owners: bool) -> None:
    """The remote's, if they are wanted and known."""
    others = [file(uid=12, gid=34), folder(uid=12, gid=34), attributes(stat.S_IFLNK, target=b"x", uid=12, gid=34)]
    making.place(directory, [(b"%d" % number, each) for number, each in enumerate(others)], owners, LONG)
    making.place(directory, [(b"nobody's", file(uid=None))], owners, LONG)
    for number in range(len(others)):
        found = os.stat(b"%d" % number, dir_fd=directory, follow_symlinks=False)
        assert (found.st_uid, found.st_gid) == ((12, 34) if owners else (os.geteuid(), os.getegid()))
    assert os.stat(b"nobody's", dir_fd=directory).st_uid == os.geteuid()


def test_what_cannot_be_made(directory: int, tmp_path: Path) -> None:
    """Each has an errno of its own, the others are made, and what is there already is left as it is."""
    (tmp_path / "there").write_bytes(b"content")
    wanted = [
        (b"a", file()),
        (b"there", file(size=5)),
        (b"huge", file(size=(1 << 63) - 1)),
        (b"n" * 256, folder()),
        (b"z", folder()),
    ]
    made = making.place(directory, wanted, False, LONG)
    assert [number < 0 for number in made] == [False, True, True, True, False]
    assert made[1:4] == [-errno.EEXIST, -errno.EFBIG, -errno.ENAMETOOLONG]
    assert sorted(os.listdir(tmp_path)) == ["a", "there", "z"]
    assert (tmp_path / "there").read_bytes() == b"content"


def test_a_symlink_in_the_way_leads_nowhere(directory: int, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("elsewhere")
    for wanted in (file(), folder(), attributes(stat.S_IFIFO), attributes(stat.S_IFLNK, target=b"x")):
        assert making.place(directory, [(b"link", wanted)], False, LONG) == [-errno.EEXIST]
    assert os.listdir(tmp_path) == ["link"]


def test_the_time_is_up(directory: int, tmp_path: Path) -> None:
    """At least one is made; the answer says how many were tried."""
    wanted = [(b"%d" % number, file()) for number in range(100)]
    assert len(making.place(directory, wanted, False, 0)) == 1
    assert os.listdir(tmp_path) == ["0"]
    assert making.place(directory, [], False, LONG) == []


def test_what_has_a_name(directory: int, tmp_path: Path) -> None:
    """Its inode number, a symlink's own, or why there is none."""
    (made,) = making.place(directory, [(b"a", file())], False, LONG)
    (tmp_path / "link").symlink_to("a")
    link = os.lstat(tmp_path / "link").st_ino
    assert making.inodes(directory, [b"a", b"none", b"link"]) == [made, -errno.ENOENT, link]
    assert os.stat(tmp_path / "a").st_mtime_ns == TIME


@pytest.mark.parametrize("name", [b"a\0b", "a", None])
def test_no_name(directory: int, name: object) -> None:
    """Nothing is made of what comes before it either."""
    with pytest.raises((ValueError, TypeError)):
        making.place(directory, [(b"first", file()), (name, file())], False, LONG)  # type: ignore[list-item]
    with pytest.raises((ValueError, TypeError)):
        making.inodes(directory, [name])  # type: ignore[list-item]
    assert os.listdir(f"/proc/self/fd/{directory}") == []
