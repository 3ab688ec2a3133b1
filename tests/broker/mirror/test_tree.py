"""The tree on disk: placeholders look like what they stand for, and nothing leads out of it."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from broker.mirror.tree import Tree
from broker.remotes.protocol import Attributes

from .drive import calling
from .placeholders import TIME, attributes, file, folder

KINDS = {
    "file": file(size=5_000_000),
    "folder": folder(),
    "set-gid folder": folder(0o2755),
    "symlink": attributes(stat.S_IFLNK, 0o777, size=6, target=b"target"),
    "fifo": attributes(stat.S_IFIFO),
}


@pytest.mark.parametrize("wanted", KINDS.values(), ids=KINDS)
def test_a_placeholder_looks_like_the_node(tree: Tree, wanted: Attributes) -> None:
    """Kind, size, mode, times and target are those of the remote; a file takes no room."""
    ino = tree.create(b"name", wanted)
    found = tree.lstat(b"name")
    assert found is not None
    assert (found.st_ino, found.st_mode, found.st_mtime_ns) == (ino, wanted.mode, TIME)
    if wanted.is_regular:
        assert (found.st_size, found.st_blocks) == (wanted.size, 0)
    if wanted.is_symlink:
        assert os.readlink(tree.real(b"name")) == b"target"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owners(tree: Tree) -> None:
    """The owner is the remote's, of a symlink too, where the mirror keeps owners."""
    for name, wanted in KINDS.items():
        tree.create(name.encode(), replace(wanted, uid=1234, gid=2345))
        found = tree.lstat(name.encode())
        assert found is not None and (found.st_uid, found.st_gid) == (1234, 2345)


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6777])
def test_set_id_bits_stay_out(tree: Tree, mode: int) -> None:
    """Neither making, replacing nor changing a placeholder gives it set-id bits; a program's own are taken off."""
    tree.create(b"f", file(mode))
    tree.replace(b"f", file(mode))
    tree.set_attributes(b"f", file(mode))
    found = tree.lstat(b"f")
    assert found is not None and stat.S_IMODE(found.st_mode) == mode & 0o777
    os.chmod(tree.real(b"f"), mode)
    assert tree.drop_set_id(b"f") == mode & 0o6000
    found = tree.lstat(b"f")
    assert found is not None and stat.S_IMODE(found.st_mode) == mode & 0o777


def test_a_replaced_file_stays_with_those_who_have_it_open(tree: Tree) -> None:
    """The name has a new inode at once; the old descriptor keeps its content."""
    old = tree.create(b"f", file(size=3))
    writer = os.open(tree.real(b"f"), os.O_RDWR)
    os.write(writer, b"old")
    assert tree.replace(b"f", file(size=7)) != old
    assert os.pread(writer, 10, 0) == b"old"
    os.close(writer)
    assert os.stat(tree.real(b"f")).st_size == 7
    assert not os.listdir(tree.staging)


def test_a_replacement_that_fails_leaves_nothing_behind(tree: Tree) -> None:
    """A folder cannot be replaced by a file; nothing stays outside the tree."""
    tree.create(b"d", folder())
    with pytest.raises(IsADirectoryError):
        tree.replace(b"d", file())
    assert not os.listdir(tree.staging)


def test_an_impossible_size_leaves_no_file(tree: Tree) -> None:
    """What the file system cannot hold is an error, and no empty file that could be taken for it."""
    with pytest.raises(OSError) as caught:
        tree.create(b"f", file(size=(1 << 63) - 1))
    assert caught.value.errno == errno.EFBIG
    assert tree.lstat(b"f") is None


def test_twins_share_an_inode(tree: Tree) -> None:
    """A hard link beside a file, and one in the place of another file."""
    ino = tree.create(b"a", file())
    tree.create(b"c", file())
    assert tree.link(b"a", b"b") == ino
    assert tree.replace(b"c", file(), twin=b"a") == ino
    assert tree.names(b"") == {b"a": ino, b"b": ino, b"c": ino}


def outside(tree: Tree, tmp_path: Path) -> Path:
    """A folder of the user's, to which a remote has made a symlink."""
    victim = tmp_path / "home"
    victim.mkdir()
    (victim / "f").write_bytes(b"precious")
    (victim / "d").mkdir()
    os.symlink(victim, tree.real(b"link"))
    return victim


def test_symlinks_lead_nothing_out_of_the_tree(tree: Tree, tmp_path: Path) -> None:
    """Every change below a symlink to another folder is refused, and that folder stays as it was."""
    victim = outside(tree, tmp_path)
    before = {path: path.lstat().st_ctime_ns for path in [victim, *victim.iterdir()]}
    status = os.stat(victim / "f")
    tree.create(b"f", file())
    for work in (
        lambda: tree.create(b"link/new", file()),
        lambda: tree.create(b"link/d/new", folder()),
        lambda: tree.replace(b"link/f", file()),
        lambda: tree.replace(b"link/f", file(), twin=b"f"),
        lambda: tree.link(b"f", b"link/g"),
        lambda: tree.link(b"link/f", b"g"),
        lambda: tree.set_attributes(b"link/f", file(0o777)),
        lambda: tree.restore(b"link/f", status),
        lambda: tree.link_out(b"link/f", b"/tmp/not-made"),
        lambda: tree.move(b"link/f", b"f"),
        lambda: tree.move(b"f", b"link/f"),
        lambda: tree.open(b"link/f", os.O_RDONLY),
        lambda: tree.names(b"link/d"),
        lambda: tree.set_xattrs(b"link/f", {b"user.a": b"b"}),
        lambda: tree.drop_set_id(b"link/f"),
        lambda: tree.run(calling(os.unlink), b"link/f"),
        lambda: tree.run(calling(os.rename), b"f", b"link/new"),
    ):
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            work()
    tree.remove(b"link/f")
    tree.prune(b"link/d", [os.stat(victim / "d").st_ino])
    tree.prune(b"link/f", [status.st_ino])
    assert {path: path.lstat().st_ctime_ns for path in [victim, *victim.iterdir()]} == before
    with pytest.raises(NotADirectoryError):
        tree.names(b"link")
    tree.prune(b"link", [os.lstat(tree.real(b"link")).st_ino, status.st_ino])
    assert (victim / "f").read_bytes() == b"precious"
    assert tree.lstat(b"link") is None


def test_prune_removes_what_is_named_and_no_more(tree: Tree) -> None:
    """What came to be in a folder after it was looked through stays, with the folders on its way."""
    inos = {tree.create(path, node) for path, node in [(b"d", folder(0o500)), (b"d2", folder())]}
    os.chmod(tree.real(b"d"), 0o700)
    inos |= {tree.create(b"d/" + name, file()) for name in (b"a", b"b")}
    inos |= {tree.create(b"d/e", folder()), tree.create(b"d/e/f", file())}
    tree.create(b"d/e/new", file())
    os.chmod(tree.real(b"d"), 0o500)
    tree.prune(b"d", inos)
    assert {path for path, _ in tree.walk()} == {b"d", b"d/e", b"d/e/new", b"d2"}
    assert stat.S_IMODE(os.stat(tree.real(b"d")).st_mode) == 0o500
    tree.prune(b"d2", inos)
    assert tree.lstat(b"d2") is None


def test_our_changes_do_not_show_in_a_folders_times(tree: Tree) -> None:
    """A placeholder made in a folder leaves the times that the remote's folder has."""
    tree.create(b"d", folder())
    with tree.keeping_times(b"d"):
        tree.create(b"d/f", file())
    found = tree.lstat(b"d")
    assert found is not None and (found.st_mtime_ns, found.st_atime_ns) == (TIME, TIME + 1)


def test_a_pinned_inode_number_is_not_used_again(tree: Tree) -> None:
    """While what is on record of a removed node is being dropped, no new one gets its number."""
    ino = tree.create(b"f", file())
    with tree.pinned(b"f"):
        tree.remove(b"f")
        assert ino not in {tree.create(b"new-%d" % number, file()) for number in range(50)}


def test_relative(tree: Tree) -> None:
    """Real paths in the tree have a path; the root has the empty one; neighbours have none."""
    assert tree.relative(tree.root) == b""
    assert tree.relative(tree.root + b"/a/b") == b"a/b"
    assert tree.relative(tree.root + b"x/a") is None
    assert tree.relative(b"/") is None


def test_walk_and_find(tree: Tree) -> None:
    """All nodes below, symlinks not followed; a number that nothing has is not found."""
    for path in (b"d", b"d/e"):
        tree.create(path, folder())
    ino = tree.create(b"d/e/f", file())
    tree.create(b"d/link", attributes(stat.S_IFLNK, 0o777, target=b"e"))
    assert {path for path, _ in tree.walk()} == {b"d", b"d/e", b"d/e/f", b"d/link"}
    assert tree.find(ino) == b"d/e/f"
    assert tree.find(1) is None


async def test_making_placeholders_on_a_thread_does_not_hide_a_programs_change(tree: Tree) -> None:
    """A folder's time that a program's call has set is not put back to what it was before."""
    tree.create(b"d", folder())

    def fill() -> None:
        for number in range(200):
            with tree.keeping_times(b"d"):
                tree.create(b"d/%d" % number, file())

    filling = asyncio.ensure_future(asyncio.to_thread(fill))
    await asyncio.sleep(0)
    tree.run(calling(lambda real: os.close(os.open(real, os.O_CREAT | os.O_WRONLY))), b"d/own")
    changed = os.stat(tree.real(b"d")).st_mtime_ns
    await filling
    assert os.stat(tree.real(b"d")).st_mtime_ns == changed != TIME
