"""What a folder looks like: snapshots that can be compared, and the standard tree that scenarios start from."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

OLD = 1_600_000_000
"""Seconds since 1970: the time of everything that `standard` makes."""


def snapshot(root: Path, started: float, ended: float, *, opaque: Sequence[str], links: bool) -> list[str]:
    """One line for each node below `root`, sorted: kind, mode, owner, time, content, target, attributes.

    A time between `started` and `ended` (seconds since 1970) is "now", since two runs are not at the same time.
    Of nodes that match a pattern of `opaque` only kind and mode are told. `links` adds hard-link groups.
    """
    nodes = {path: os.lstat(path) for path in _walk(root)}
    groups = _link_groups(root, nodes.items()) if links else {}
    lines = []
    for path, status in sorted(nodes.items()):
        name = repr(os.fsencode(path.relative_to(root)))[2:-1]
        line = f"{name}: {stat.filemode(status.st_mode)}"
        if not any(fnmatch.fnmatch(name, pattern) for pattern in opaque):
            line += f" {status.st_uid}:{status.st_gid} {_time(status, started, ended)}"
            line += _content(path, status) + _attributes(path)
            line += f" link of {groups[path]}" if path in groups else ""
        lines.append(line)
    return lines


def _walk(root: Path) -> Iterable[Path]:
    yield root
    for folder, folders, files in os.walk(root):
        yield from (Path(folder, name) for name in folders + files)


def _time(status: os.stat_result, started: float, ended: float) -> str:
    now = started - 1 <= status.st_mtime <= ended + 1
    return "now" if now else f"{status.st_mtime_ns // 10**9}.{status.st_mtime_ns % 10**9:09}"


def _content(path: Path, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return f" -> {os.readlink(os.fsencode(path))!r}"
    if stat.S_ISREG(status.st_mode):
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:16]
        return f" {len(content)} bytes {content!r}" if len(content) <= 60 else f" {len(content)} bytes {digest}"
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        return f" device {status.st_rdev:#x}"
    return ""


def _attributes(path: Path) -> str:
    try:
        names = sorted(name for name in os.listxattr(path, follow_symlinks=False) if name.startswith("user."))
    except OSError:
        return ""
    return "".join(f" {name}={os.getxattr(path, name, follow_symlinks=False)!r}" for name in names)


def _link_groups(root: Path, nodes: Iterable[tuple[Path, os.stat_result]]) -> dict[Path, str]:
    """For each file with several names, the first of them."""
    first: dict[tuple[int, int], str] = {}
    groups = {}
    for path, status in sorted(nodes):
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            groups[path] = first.setdefault((status.st_dev, status.st_ino), str(path.relative_to(root)))
    return groups


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
    for number, path in enumerate(sorted(_walk(root), reverse=True)):
        moment = OLD * 10**9 + number * 1_001_001
        os.utime(path, ns=(moment, moment), follow_symlinks=False)
