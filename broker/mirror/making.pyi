"""Nodes made and looked for in one folder, many in a row without the interpreter lock."""

from collections.abc import Sequence

from broker.remotes.protocol import Attributes

AT_FDCWD: int

def place(folder: int, nodes: Sequence[tuple[bytes, Attributes]], owners: bool, seconds: float) -> list[int]:
    """Make what a remote describes, a regular file as one hole, in order until the time is up; at least the first.

    For each that was tried its inode number, or a negative errno: then it is not there, unless that is EEXIST.
    `owners`: they are given the remote's owners as well. Files get no set-id bits.
    """

def inodes(folder: int, names: Sequence[bytes]) -> list[int]:
    """The inode number of each name, which is not followed, or a negative errno."""
