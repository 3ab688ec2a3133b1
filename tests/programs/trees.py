"""What a tree looks like: snapshots that can be compared, and the standard tree that scenarios start from."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from .nodes import Tree, walk

OLD = 1_600_000_000
"""Seconds since 1970: the time of everything that `standard` makes."""


def snapshot(
    tree: Tree, started: float, ended: float, *, opaque: Sequence[str], links: bool, owners: bool = True
) -> list[str]:
    """One line for each node of a tree, sorted: kind, mode, owner, time, content, target, attributes.

    A time between `started` and `ended` (seconds since 1970) is "now", since two runs are not at the same time.
    Of nodes that match a pattern of `opaque` only kind and mode are told. `links` adds hard-link groups; without
    `owners` those are left out, for what is compared with a remote that keeps none.
    """
    groups = _link_groups(tree) if links else {}
    lines = []
    for path, node in sorted(tree.items()):
        name = repr(path)[2:-1]
        line = f"{name}: {stat.filemode(node.mode)}"
        if not any(fnmatch.fnmatch(name, pattern) for pattern in opaque):
            line += f" {node.owner[0]}:{node.owner[1]}" if owners and node.owner else ""
            line += f" {_time(node.mtime_ns, started, ended)}{node.holds}"
            line += "".join(f" {os.fsdecode(name)}={text!r}" for name, text in sorted(node.attributes.items()))
            line += f" link of {groups[path]}" if path in groups else ""
        lines.append(line)
    return lines


def _time(mtime_ns: int, started: float, ended: float) -> str:
    now = (started - 1) * 10**9 <= mtime_ns <= (ended + 1) * 10**9
    return "now" if now else f"{mtime_ns // 10**9}.{mtime_ns % 10**9:09}"


def _link_groups(tree: Tree) -> dict[bytes, str]:
    """For each file with several names, the first of them."""
    first: dict[object, str] = {}
    return {
        path: first.setdefault(node.file, repr(path)[2:-1])
        for path, node in sorted(tree.items())
        if node.file is not None
    }


def standard(drive: Path, prefix: str) -> None:
    """A small tree with files, folders, links of every kind and odd names; `prefix` is where it will appear."""
    _file(drive / "hello.txt", b"hello\n")
    _file(drive / "lines.txt", b"".join(b"line %d of the file\n" % number for number in range(2000)))
    _file(drive / "empty", b"", 0o600)
    _file(drive / "big.bin", bytes(range(256)) * 1200, 0o640)
    _file(drive / "name with spaces", b"spaces\n")
    _file(drive / "ünï-çødé", b"unicode\n")
    _file(drive / "-dash", b"dash\n")
    _file(drive / ".hidden", b"hidden\n")
    _file(drive / "sub/one", b"1\n")
    _file(drive / "sub/two", b"2\n")
    _file(drive / "sub/deep/er/three", b"3\n")
    (drive / "sub/none").mkdir(mode=0o750)
    os.link(drive / "sub/two", drive / "sub/second")
    (drive / "sub/link").symlink_to("one")
    (drive / "sub/up").symlink_to("../hello.txt")
    (drive / "into").symlink_to("sub/deep")
    (drive / "absolute").symlink_to(f"{prefix}/sub/one")
    (drive / "outside").symlink_to("/etc/passwd")
    (drive / "dangling").symlink_to("nowhere")
    (drive / "loop").symlink_to("loop")
    settle(drive)


def _file(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def settle(root: Path) -> None:
    """Give everything below `root` a time long ago, so that a change of it shows; nanoseconds tell nodes apart."""
    for number, path in enumerate(sorted(walk(root), reverse=True)):
        moment = OLD * 10**9 + number * 1_001_001
        os.utime(path, ns=(moment, moment), follow_symlinks=False)
