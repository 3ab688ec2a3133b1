"""Random file-system calls, as hypothesis strategies; `sources/calls.py` makes them."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

AT_FDCWD = -100
NOFOLLOW, REMOVEDIR, FOLLOW, EMPTY = 0x100, 0x200, 0x400, 0x1000
NOREPLACE, EXCHANGE = 1, 2
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2

Call = list[Any]

_names = st.sampled_from(
    [
        "a",
        "b",
        "d",
        "e",
        "h",
        "l",
        "p",
        "ld",
        "up",
        "abs",
        "loop",
        "dangling",
        "new",
        "other",
        ".",
        "",
        "x" * 255,
        "y" * 256,
    ]
)
_components = st.lists(_names, min_size=1, max_size=3).map("/".join)
_above = st.sampled_from(["", "", "../", "d/../", "./", "../4/"])
_endings = st.sampled_from(["", "", "/", "/.", "//"])
_odd = st.builds(lambda up, path, end: up + path.lstrip("/") + end, _above, _components, _endings).filter(
    lambda text: not text.startswith("/")
)
"""Never an absolute path: the root of the machine is no place for random calls."""
_plain = st.sampled_from(
    [
        "a",
        "b",
        "d",
        "d/a",
        "d/e",
        "h",
        "l",
        "ld",
        "ld/e",
        "abs/a",
        "d/l",
        "p",
        "new",
        "d/new",
        "other",
        "dangling",
        "d/e/new",
    ]
)
_relative = st.integers(0, 3).flatmap(lambda choice: _odd if choice == 0 else _plain)
paths = st.one_of(_relative, _relative.map(lambda path: f"%T/{path}"))
"""Paths rise by at most one folder, so that no case leaves its own."""

slots = st.integers(0, 3).map(lambda slot: {"fd": slot})
folders = st.one_of(st.just(AT_FDCWD), st.just(AT_FDCWD), slots)
modes = st.sampled_from([0o644, 0o755, 0o700, 0o600, 0o444, 0o1777])
"""Without set-id bits: a drive is nosuid, and fstat(2) of a descriptor says so."""
sizes = st.sampled_from([0, 1, 5, 100, 4096, 10000])
attributes = st.sampled_from(["user.a", "user.b", "other.c", "bad", "user."])
_FLAGS = (os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_DIRECTORY, os.O_NOFOLLOW, os.O_PATH)
flags = st.builds(
    lambda access, bits: access | os.O_NONBLOCK | sum(bits),
    st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR]),
    st.lists(st.sampled_from(_FLAGS), unique=True, max_size=3),
)
_moment = st.tuples(st.integers(0, 2**31), st.sampled_from([0, 123456789, UTIME_NOW, UTIME_OMIT]))
moments = st.one_of(st.none(), st.builds(lambda one, two: {"struct": [*one, *two]}, _moment, _moment))
OUT = st.just({"buffer": 0})


def _call(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    return st.tuples(st.just(name), *arguments).map(list)


def _n(*values: int) -> st.SearchStrategy[int]:
    return st.sampled_from(values)


_how = st.builds(
    lambda flag, mode, resolve: {"struct": [flag, mode if flag & os.O_CREAT else 0, resolve]},
    flags,
    modes,
    _n(0, 0, 4, 8, 16),
)
_xattr = (attributes, st.just("value"), _n(0, 3, 5), _n(0, 1, 2))

LOOKING = [
    _call("stat", paths, OUT),
    _call("lstat", paths, OUT),
    _call("newfstatat", folders, paths, OUT, _n(0, NOFOLLOW, EMPTY)),
    _call("statx", folders, paths, _n(0, NOFOLLOW, EMPTY), st.just(0x7FF), OUT),
    _call("access", paths, _n(0, 1, 2, 4, 7)),
    _call("faccessat", folders, paths, _n(0, 2, 5)),
    _call("faccessat2", folders, paths, _n(0, 1, 2), _n(0, NOFOLLOW, 0x200)),
    _call("readlink", paths, OUT, _n(0, 1, 100)),
    _call("readlinkat", folders, paths, OUT, _n(1, 100)),
    _call("getxattr", paths, attributes, OUT, _n(0, 1, 100)),
    _call("lgetxattr", paths, attributes, OUT, _n(100)),
    _call("listxattr", paths, OUT, _n(0, 100)),
    _call("statfs", paths, OUT),
    _call("getcwd", OUT, _n(1, 4096)),
    _call("fstat", slots, OUT),
]
CHANGING = [
    _call("mkdir", paths, modes),
    _call("mkdirat", folders, paths, modes),
    _call("mknod", paths, st.sampled_from([0o100644, 0o010600, 0o644, 0o040755]), _n(0)),
    _call("mknodat", folders, paths, st.sampled_from([0o100600, 0o010644]), _n(0)),
    _call("unlink", paths),
    _call("unlinkat", folders, paths, _n(0, 0, REMOVEDIR, 5)),
    _call("rmdir", paths),
    _call("rename", paths, paths),
    _call("renameat", folders, paths, folders, paths),
    _call("renameat2", folders, paths, folders, paths, _n(0, NOREPLACE, EXCHANGE, NOREPLACE | EXCHANGE)),
    _call("link", paths, paths),
    _call("linkat", folders, paths, folders, paths, _n(0, FOLLOW, EMPTY)),
    _call("symlink", st.sampled_from(["a", "d", "../4", "%T/a", "none", "", "new"]), paths),
    _call("symlinkat", st.sampled_from(["b", "d/e"]), folders, paths),
    _call("chmod", paths, modes),
    _call("fchmodat", folders, paths, modes),
    _call("fchmodat2", folders, paths, modes, _n(0, NOFOLLOW)),
    _call("chown", paths, _n(-1, 0, 1000), _n(-1, 0, 1000)),
    _call("lchown", paths, _n(-1, 1001), _n(-1, 1001)),
    _call("fchownat", folders, paths, _n(-1, 7), _n(-1, 7), _n(0, NOFOLLOW, EMPTY)),
    _call("utimensat", folders, paths, moments, _n(0, NOFOLLOW)),
    _call("truncate", paths, sizes),
    _call("truncate", paths, _n(-1)),
    _call("setxattr", paths, *_xattr),
    _call("lsetxattr", paths, *_xattr),
    _call("removexattr", paths, attributes),
    _call("lremovexattr", paths, attributes),
]
OPENING = [
    _call("open", paths, flags, modes),
    _call("open", paths, _n(os.O_RDWR, os.O_RDONLY, os.O_RDWR | os.O_CREAT).map(lambda f: f | os.O_NONBLOCK), modes),
    _call("openat", folders, paths, flags, modes),
    _call("openat2", _n(AT_FDCWD), paths, _how, _n(24)),
    _call("creat", st.sampled_from(["new", "a", "d/new", "dangling", "%T/other", "d", "none/x", "l"]), modes),
    _call("chdir", st.sampled_from(["d", "d/e", "ld", "abs", ".", "a", "none"])),
]
HOLDING = [
    _call("write", slots, st.just("written text"), _n(1, 12)),
    _call("pread", slots, OUT, _n(0, 100), _n(0, 3)),
    _call("ftruncate", slots, sizes),
    _call("fallocate", slots, _n(0, 1), _n(0, 10), _n(1, 5000)),
    _call("fchmod", slots, modes),
    _call("fchown", slots, _n(-1, 5), _n(-1, 5)),
    _call("fsync", slots),
    _call("fsetxattr", slots, *_xattr),
    _call("fremovexattr", slots, attributes),
    _call("utimensat", slots, st.none(), moments, _n(0)),
    _call("fchdir", st.integers(0, 0).map(lambda slot: {"fd": slot})),
    _call("dup", slots),
    _call("close", slots),
    _call("getdents", slots, OUT, _n(4096)),
]
calls = st.one_of(st.one_of(LOOKING), st.one_of(CHANGING), st.one_of(OPENING), st.one_of(HOLDING))
_DESCRIPTORS = [
    ["open", "d", os.O_RDONLY | os.O_DIRECTORY, 0],
    ["open", "a", os.O_RDWR, 0],
    ["open", "%T/d/opened", os.O_RDWR | os.O_CREAT, 0o640],
    ["open", "b", os.O_RDONLY, 0],
]
cases = st.builds(
    lambda opened, made: _DESCRIPTORS[:opened] + made, st.integers(0, 4), st.lists(calls, min_size=4, max_size=12)
)


def generate(number: int, count: int) -> list[list[Call]]:
    """`count` cases, the same ones for the same `number`. Each is hypothesis' second example of a seed of its own:
    its first is the simplest, and later ones are often variations of earlier ones."""
    return [_example(number * 1000 + index) for index in range(count)]


def _example(number: int) -> list[Call]:
    collected: list[list[Call]] = []

    @seed(number)
    @settings(max_examples=2, phases=[Phase.generate], database=None, deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(cases)
    def collect(case: list[Call]) -> None:
        collected.append(case)

    collect()
    return collected[-1]
