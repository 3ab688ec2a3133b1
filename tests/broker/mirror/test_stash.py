"""What is about to be removed is kept: content, inode number, and where it was."""

from __future__ import annotations

import os

import pytest

from broker.mirror.stash import Stash
from broker.mirror.tree import Tree

from .placeholders import file


def test_the_same_file_is_given_back(tree: Tree) -> None:
    """Content and inode; nothing stays."""
    stash = Stash(tree)
    ino = tree.create(b"f", file(size=3))
    kept = stash.keep(b"f", ino)
    tree.remove(b"f")
    stash.give_back(kept, b"f")
    assert tree.names(b"") == {b"f": ino}
    assert not os.listdir(tree.staging)


@pytest.mark.parametrize("noted", [False, True])
def test_what_a_killed_session_has_kept_is_found(tree: Tree, noted: bool) -> None:
    """With its path if that was noted; keeping it again, and dropping it, leave nothing else."""
    stash = Stash(tree)
    path = b"f" * 200
    ino = tree.create(path, file())
    stash.keep(path, ino, noted=True)
    kept = stash.keep(path, ino, noted=noted)
    tree.clear_staging()
    assert stash.left() == [(kept, ino, path if noted else None)]
    stash.drop(kept)
    assert not os.listdir(tree.staging)


def test_the_room_of_what_goes_is_free(tree: Tree) -> None:
    """Unless somebody has it open, or it has another name."""
    stash = Stash(tree)
    ino = tree.create(b"f", file())
    real = tree.real(b"f")
    os.truncate(real, 0)
    with open(real, "wb") as out:
        out.write(b"content")
    kept = stash.keep(b"f", ino)
    stash.empty(kept)
    assert os.stat(kept).st_size == 7
    tree.remove(b"f")
    with open(kept, "rb") as reading:
        stash.empty(kept)
        assert reading.read() == b"content"
    stash.empty(kept)
    assert os.stat(kept).st_size == 0
    stash.drop(kept)
    stash.empty(kept)
