"""Paths of a remote: bytes relative to its root; ``b""`` is the root, ``b"a/b"`` a file in a folder."""

from __future__ import annotations

Path = bytes

NAME_MAX = 255
PATH_MAX = 4096


def parent_of(path: Path) -> Path:
    return path.rpartition(b"/")[0]


def folders_above(path: Path) -> list[Path]:
    """Those that it leads through, from the top, without the root."""
    above = parent_of(path)
    return [*folders_above(above), above] if above else []


def base_of(path: Path) -> bytes:
    return path.rpartition(b"/")[2]


def join(folder: Path, name: bytes) -> Path:
    return folder + b"/" + name if folder else name


def valid_name(name: bytes) -> bool:
    """Whether `name` can be one component of a path, as the kernel would have it."""
    return 0 < len(name) <= NAME_MAX and name not in (b".", b"..") and b"/" not in name and b"\0" not in name


def valid_path(path: Path) -> bool:
    """Whether `path` is the root or a chain of valid names."""
    return path == b"" or (len(path) < PATH_MAX and all(map(valid_name, path.split(b"/"))))


def valid_target(target: bytes) -> bool:
    """Whether `target` can be the text of a symlink (symlink(2): not empty, no NUL, below PATH_MAX)."""
    return 0 < len(target) < PATH_MAX and b"\0" not in target
