"""Rules of the kernel for sticky folders and set-id files, case by case."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from broker.mirror.setid import Writer
from broker.syscalls.permission import Protected, open_to_all

ME, OTHER, OWNER = 1, 2, 3
ALL = Protected(symlinks=1, regular=2, fifos=2, hardlinks=1)
NONE = Protected(0, 0, 0, 0)


def node(mode: int, uid: int) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, uid, uid, 0, 0, 0, 0))


def folder(mode: int) -> os.stat_result:
    return node(stat.S_IFDIR | mode, OWNER)


@pytest.mark.parametrize(
    ("mode", "uid", "allowed"),
    [(0o1777, OTHER, False), (0o1777, ME, True), (0o1777, OWNER, True), (0o777, OTHER, True), (0o1775, OTHER, True)],
)
def test_links_in_sticky_folders(mode: int, uid: int, allowed: bool) -> None:
    """Those of others are not followed where all may write, if fs.protected_symlinks says so."""
    link = node(stat.S_IFLNK | 0o777, uid)
    assert ALL.may_follow(ME, folder(mode), link) is allowed
    assert NONE.may_follow(ME, folder(mode), link)


@pytest.mark.parametrize("kind", [stat.S_IFREG, stat.S_IFIFO])
@pytest.mark.parametrize(
    ("mode", "uid", "level", "allowed"),
    [
        (0o1777, OTHER, 1, False),
        (0o1777, ME, 2, True),
        (0o1777, OWNER, 2, True),
        (0o777, OTHER, 2, True),
        (0o1770, OTHER, 1, True),
        (0o1770, OTHER, 2, False),
        (0o1777, OTHER, 0, True),
    ],
)
def test_creating_over_what_others_have(kind: int, mode: int, uid: int, level: int, allowed: bool) -> None:
    """By the level of fs.protected_regular or fs.protected_fifos; each counts for its own kind only."""
    mine, others = (level, 0) if kind == stat.S_IFREG else (0, level)
    assert Protected(0, mine, others, 0).may_create_over(ME, folder(mode), node(kind | 0o666, uid)) is allowed
    assert Protected(0, others, mine, 0).may_create_over(ME, folder(mode), node(kind | 0o666, uid))


@pytest.mark.parametrize(("mode", "risky"), [(0o4755, True), (0o2711, True), (0o2644, False), (0o755, False)])
def test_hard_links_to_set_id_files(mode: int, risky: bool) -> None:
    """Only by the owner, or with CAP_FOWNER."""
    assert ALL.may_link(Writer(ME, (), False, False), OTHER, mode) is not risky
    assert ALL.may_link(Writer(ME, (), False, False), ME, mode)
    assert ALL.may_link(Writer(ME, (), False, True), OTHER, mode)
    assert NONE.may_link(Writer(ME, (), False, False), OTHER, mode)


def test_the_sysctls_are_read() -> None:
    """As this machine has them, the most careful ones included."""
    for name in ("symlinks", "regular", "fifos", "hardlinks"):
        with open(f"/proc/sys/fs/protected_{name}") as file:
            assert getattr(Protected.of_this_machine(), name) == int(file.read())


@pytest.mark.parametrize("mode", [0o700, 0o711, 0o755, 0o750, 0o701, 0o1777])
@pytest.mark.parametrize("above", [False, True])
def test_folders_that_are_open_to_all(mode: int, above: bool) -> None:
    """Every folder of the way has to let everybody through."""
    with tempfile.TemporaryDirectory(prefix="seccomp-drive-") as top:
        inner = Path(top, "a/b")
        inner.mkdir(parents=True)
        Path(top).chmod(0o755)
        assert open_to_all(os.fsencode(inner)) is open_to_all(os.fsencode(Path(top).parent))
        (inner.parent if above else inner).chmod(mode)
        if mode & 0o111 != 0o111:
            assert not open_to_all(os.fsencode(inner))
        else:
            assert open_to_all(os.fsencode(inner)) is open_to_all(os.fsencode(Path(top).parent))
