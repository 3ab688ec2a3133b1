"""One node of the mirror: opened whatever its mode, and what a call has changed of it."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from remotes.conftest import ROOT

from broker.mirror.nodes import changes_between, reopen
from broker.mirror.tree import Tree
from broker.remotes.protocol import Changes

from .placeholders import file


def test_extended_attributes_of_the_user_alone(tree: Tree) -> None:
    """They are made the wanted ones; what is not the user's is left alone."""
    tree.create(b"f", file())
    real = tree.real(b"f")
    os.setxattr(real, "user.old", b"1")
    if os.geteuid() == 0:
        os.setxattr(real, "trusted.own", b"1")
    tree.set_xattrs(b"f", {b"user.new": b"2", b"user.empty": b""})
    assert tree.xattrs(b"f") == {b"user.new": b"2", b"user.empty": b""}
    assert os.geteuid() != 0 or "trusted.own" in os.listxattr(real)


UNPRIVILEGED = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests/broker")!r}]
import os, stat
from broker.mirror.tree import Tree
from mirror.placeholders import file, folder
tree = Tree(sys.argv[1] + "/mirror", owners=False)
tree.create(b"d", folder(0o500))
with tree.keeping_times(b"d"):
    tree.create(b"d/f", file(0o400, size=3))
    tree.create(b"d/none", file(0o000, size=3))
for path, mode in ((b"d", 0o500), (b"d/f", 0o400), (b"d/none", 0)):
    if path != b"d":
        os.close(tree.open(path, os.O_RDWR))
        tree.set_xattrs(path, {{b"user.a": b"b"}})
    assert stat.S_IMODE(tree.lstat(path).st_mode) == mode, path
try:
    tree.create(b"d/g", file())
except PermissionError:
    print("denied")
tree.prune(b"d", set(tree.names(b"d").values()) | {{tree.lstat(b"d").st_ino}})
print(tree.names(b""))
"""


def test_an_owner_without_privileges_may_fill_what_is_read_only(public: Path, as_nobody: object) -> None:
    """Placeholders in a 0555 folder and content in a 0444 file are the broker's to make, and the modes stay."""
    os.chown(public, 65534, 65534)
    assert callable(as_nobody)
    assert as_nobody(UNPRIVILEGED, public).split() == ["denied", "{}"]


def test_reopen_leads_to_the_same_node(tree: Tree) -> None:
    """Whatever has its name by now."""
    ino = tree.create(b"f", file())
    node = tree.open(b"f", os.O_PATH)
    tree.replace(b"f", file())
    again = reopen(node, os.O_RDWR)
    assert os.fstat(again).st_ino == ino
    os.close(again)
    os.close(node)


@given(
    st.integers(0, 0o777),
    st.integers(0, 0o777),
    st.sampled_from([0, 1, 10**18]),
    st.sampled_from([0, 1, 10**18]),
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_changes_between(tmp_path: Path, mode: int, other: int, time: int, later: int) -> None:
    """What has changed is told, and nothing else; no change is false."""
    path = tmp_path / "f"
    path.touch()
    path.chmod(mode)
    os.utime(path, ns=(time, time))
    before = path.stat()
    path.chmod(other)
    os.utime(path, ns=(time, later))
    changes = changes_between(before, path.stat())
    assert changes == Changes(
        mode=other if mode != other else None,
        mtime_ns=later if time != later else None,
        atime_ns=time if time != later else None,
    )
    assert bool(changes) == (mode != other or time != later)
