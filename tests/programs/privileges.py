"""Trees with files of several owners and modes, and the calls that are tried on each of them."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .operations import AT_FDCWD, EMPTY
from .trees import OLD, settle

USER, OTHER, GROUP = 1234, 2345, 3456
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
OUT = {"buffer": 0}
FD = {"fd": 0}
Calls = list[list[Any]]

WHO = (
    "root",
    "user alone",
    "user in-group",
    "fsuid",
    "effective",
    "real",
    "without DAC_OVERRIDE",
    "without DAC_OVERRIDE DAC_READ_SEARCH",
    "without FOWNER",
    "without CHOWN FSETID",
    "with DAC_OVERRIDE",
    "with DAC_READ_SEARCH",
    "with FOWNER",
    "with CHOWN",
    "with FSETID DAC_OVERRIDE FOWNER",
)


NAMESPACES = ("namespace mapped", "namespace unmapped", "namespace of-root")


@dataclass(frozen=True, slots=True)
class Node:
    """A file or folder to be made: `kind` is what mknod(2) would call it, or "l" for a symlink to `target`."""

    name: str
    uid: int
    gid: int
    mode: int
    kind: str = "f"


FOLDERS = (
    Node("open", 0, 0, 0o777),
    Node("sticky", 0, 0, 0o1777),
    Node("sticky-mine", USER, USER, 0o1777),
    Node("mine", USER, USER, 0o755),
    Node("roots", 0, 0, 0o755),
    Node("groups", 0, GROUP, 0o770),
    Node("setgid", 0, GROUP, 0o2777),
    Node("search", 0, 0, 0o711),
    Node("list", OTHER, OTHER, 0o744),
    Node("none", 0, 0, 0o700),
    Node("not-mine", USER, OTHER, 0o077),
    Node("write", OTHER, GROUP, 0o733),
)
FILES = (
    Node("roots", 0, 0, 0o644),
    Node("secret", 0, 0, 0o600),
    Node("mine", USER, USER, 0o644),
    Node("mine-none", USER, USER, 0o000),
    Node("mine-read", USER, GROUP, 0o444),
    Node("others", OTHER, OTHER, 0o666),
    Node("others-run", OTHER, OTHER, 0o711),
    Node("groups", OTHER, GROUP, 0o660),
    Node("groups-not", OTHER, GROUP, 0o606),
    Node("user-group", OTHER, USER, 0o640),
    Node("script", OTHER, OTHER, 0o755),
    Node("set-id", OTHER, GROUP, 0o6777),
    Node("set-id-mine", USER, GROUP, 0o6775),
    Node("sgid-mine", USER, OTHER, 0o2664),
    Node("folder", 0, 0, 0o755, "d"),
    Node("folder-mine", USER, USER, 0o700, "d"),
    Node("folder-others", OTHER, OTHER, 0o1733, "d"),
    Node("link", OTHER, OTHER, 0o777, "l"),
    Node("link-mine", USER, USER, 0o777, "l"),
    Node("pipe", OTHER, GROUP, 0o620, "p"),
)
LINKED = "groups"
"""Where the symlinks lead: a file beside them."""


def _times(*values: int) -> dict[str, list[int]]:
    return {"struct": list(values)}


def looking(path: str) -> dict[str, Calls]:
    """Calls that leave everything as it is."""
    opens = {
        "read": os.O_RDONLY,
        "write": os.O_WRONLY,
        "both": os.O_RDWR,
        "folder": os.O_RDONLY | os.O_DIRECTORY,
        "path of the link": os.O_PATH | os.O_NOFOLLOW,
        "existing": os.O_WRONLY | os.O_CREAT,
        "exclusively": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
        "without atime": os.O_RDONLY | os.O_NOATIME,
    }
    found: dict[str, Calls] = {
        f"open {name}": [["open", path, flags | os.O_NONBLOCK, 0o666]] for name, flags in opens.items()
    }
    for mode in (0, 1, 2, 4, 7):
        found[f"access {mode}"] = [["access", path, mode], ["faccessat2", AT_FDCWD, path, mode, 0x200]]
    return found | {
        "stat": [["stat", path, OUT], ["lstat", path, OUT], ["readlink", path, OUT, 100]],
        "xattr": [["getxattr", path, "user.a", OUT, 100], ["listxattr", path, OUT, 100]],
        "up": [["stat", path + "/..", OUT], ["stat", path + "/none", OUT], ["stat", path + "/../none", OUT]],
        "beside": [["stat", path + "/../../open", OUT], ["access", path + "/../roots", 0]],
        "too long": [["stat", path + "/" + "x" * 256, OUT], ["stat", path + "/../" + "x" * 256, OUT]],
        "chdir": [["chdir", path], ["getcwd", OUT, 4096], ["stat", "inside", OUT]],
        "list": [["list", path]],
        "exec": [["exec", path]],
        "statfs": [["statfs", path, OUT]],
    }


def changing(path: str) -> dict[str, Calls]:
    """Calls that may change something: each has a tree to itself."""
    now, old = _times(0, UTIME_NOW, 0, UTIME_NOW), _times(OLD, 5, OLD, 6)
    mixed = _times(0, UTIME_OMIT, OLD, 7)
    return {
        "truncating": [["open", path, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK, 0], ["write", FD, "x", 1]],
        "truncating, reading": [["open", path, os.O_RDONLY | os.O_TRUNC | os.O_NONBLOCK, 0]],
        "creat": [["open", path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o666]],
        "appending": [["open", path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK, 0], ["write", FD, "more", 4]],
        "unlink": [["unlink", path]],
        "rmdir": [["rmdir", path]],
        "rename beside": [["rename", path, path + "-moved"]],
        "rename away": [["rename", path, "open/moved"]],
        "rename here": [["rename", "open/mine", path]],
        "exchange": [["renameat2", AT_FDCWD, path, AT_FDCWD, "open/mine", 2]],
        "link": [["link", path, "open/linked"]],
        "link here": [["link", "open/mine", path + "-linked"]],
        "mkdir": [["mkdir", path + "-new", 0o777], ["mkdir", path + "/new", 0o6777]],
        "create": [["open", path + "-new", os.O_WRONLY | os.O_CREAT, 0o666], ["fstat", FD, OUT]],
        "create set-id": [["open", path + "-new", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o2777]],
        "create below": [["open", path + "/new", os.O_RDONLY | os.O_CREAT, 0o777]],
        "mknod": [["mknod", path + "-new", 0o010666, 0], ["mknod", path + "-file", 0o100666, 0]],
        "device": [["mknod", path + "-new", 0o020666, 0x103], ["open", path + "-new", os.O_RDWR, 0]],
        "symlink": [["symlink", "mine", path + "-new"], ["open", path + "-new", os.O_RDONLY, 0]],
        "chmod": [["chmod", path, 0o640]],
        "chmod set-id": [["chmod", path, 0o6755], ["stat", path, OUT]],
        "fchmodat": [["fchmodat2", AT_FDCWD, path, 0o600, 0x100]],
        "chown": [["chown", path, USER, -1]],
        "chown group": [["chown", path, -1, GROUP], ["stat", path, OUT]],
        "chown to user's group": [["chown", path, -1, USER]],
        "chown nothing": [["chown", path, -1, -1], ["stat", path, OUT]],
        "lchown": [["lchown", path, OTHER, OTHER]],
        "truncate": [["truncate", path, 3]],
        "utimensat now": [["utimensat", AT_FDCWD, path, None, 0], ["utimensat", AT_FDCWD, path, now, 0]],
        "utimensat": [["utimensat", AT_FDCWD, path, old, 0]],
        "utimensat one": [["utimensat", AT_FDCWD, path, mixed, 0x100]],
        "setxattr": [["setxattr", path, "user.b", "value", 5, 0], ["removexattr", path, "user.a"]],
        "by descriptor": [
            ["open", path, os.O_RDONLY | os.O_NONBLOCK, 0],
            ["fchmod", FD, 0o640],
            ["fchown", FD, -1, GROUP],
            ["utimensat", FD, None, old, 0],
            ["fsetxattr", FD, "user.b", "value", 5, 0],
            ["fstat", FD, OUT],
        ],
        "by descriptor, empty path": [
            ["open", path, os.O_PATH | os.O_NOFOLLOW, 0],
            ["fchownat", FD, "", -1, GROUP, EMPTY],
            ["newfstatat", FD, "", OUT, EMPTY],
        ],
        "by working directory": [
            ["chdir", path],
            ["fchownat", AT_FDCWD, "", -1, GROUP, EMPTY],
            ["utimensat", AT_FDCWD, "", old, EMPTY],
            ["stat", ".", OUT],
        ],
    }


def paths(count: int, seed: int) -> list[str]:
    """So many pairs of a folder and a file in it, chosen at random; the same ones for the same `seed`."""
    pairs = [f"{folder.name}/{file.name}" for folder in FOLDERS for file in FILES]
    return random.Random(seed).sample(pairs, min(count, len(pairs)))


def make(top: Path, wanted: list[str]) -> None:
    """The folders that the calls of the wanted paths need, in each the files with what they need beside them."""
    needed = [
        folder for folder in FOLDERS if folder.name == "open" or any(p.startswith(folder.name + "/") for p in wanted)
    ]
    for folder in needed:
        (top / folder.name).mkdir(parents=True)
        names = {path.partition("/")[2] for path in wanted if path.startswith(folder.name + "/")}
        if any(name.startswith("link") for name in names):
            names.add(LINKED)
        if folder.name == "open":
            names.add("mine")
        for file in FILES:
            if file.name in names:
                _make(top / folder.name / file.name, file)
    for folder in needed:
        _give(top / folder.name, folder)
    settle(top)


def _make(path: Path, node: Node) -> None:
    if node.kind == "d":
        path.mkdir()
        (path / "inside").touch()
    elif node.kind == "l":
        path.symlink_to(LINKED)
    elif node.kind == "p":
        os.mkfifo(path)
    else:
        path.write_text(f"#!/bin/sh\necho {node.name} ran\n")
        os.setxattr(path, "user.a", b"value")
    _give(path, node)


def _give(path: Path, node: Node) -> None:
    os.chown(path, node.uid, node.gid, follow_symlinks=False)
    if node.kind != "l":
        path.chmod(node.mode)
