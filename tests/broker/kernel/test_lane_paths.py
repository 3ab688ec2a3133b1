"""Which spellings of a path the lane hands over, on calls of a real program."""

from __future__ import annotations

import os

import pytest
from tracee import Probe

HIT = [
    b"/drive",
    b"/drive/",
    b"/drive/x",
    b"//drive//x",
    b"/./drive/./x",
    b"/drive/../etc/passwd",
    b"/etc/../drive/x",
    b"/nowhere/../drive",
    b"/deep/er/drive/x",
    b"/deep/er/drive",
    b"sommelier:",
    b"sommelier:/a/b",
    b"sommelier:a",
    b"./sommelier:/a",
    b"/home/u/sommelier:/x",
    b"/proc/self/root/drive/x",
    b"/proc/self/cwd/drive/x",
    b"/\xff\xfe/../drive/\xff",
]
MISS = [
    b"/",
    b"/drivex",
    b"/drive.x/y",
    b"/xdrive",
    b"/etc/drive",
    b"/deep",
    b"/deep/er",
    b"/deep/er/drivex",
    b"/etc/passwd",
    b"/etc/../etc/passwd",
    b"/sommelier",
    b"/sommelier:x",
    b"xsommelier:",
    b"/proc/self/fd/0",
    b"/proc/self/exe",
    b"/dev/fd/0",
    b"/dev/stdin",
    b"nowhere",
    b"./nowhere/deeper",
    b"",
    b"/" + b"x" * 4094,
    b"x" * 5000,
]


@pytest.mark.parametrize("path", HIT, ids=repr)
def test_what_may_be_on_a_drive_is_handed_over(probe: Probe, path: bytes) -> None:
    """In every spelling, with the path as the program wrote it."""
    _, seen = probe.ask("stat", path)
    assert [trapped.paths for trapped in seen] == [(path,)]


@pytest.mark.parametrize("path", MISS, ids=lambda path: repr(path[:20]))
def test_what_is_not_on_a_drive_continues(probe: Probe, path: bytes) -> None:
    """And the kernel's own answer is the program's."""
    result, seen = probe.ask("stat", path)
    try:
        expected: object = tuple(os.stat(path))[:3]
    except OSError as error:
        expected = -(error.errno or 0)
    assert not seen
    if not path.startswith((b"/proc", b"/dev")):
        assert (result[:3] if isinstance(result, tuple) else result) == expected


def test_relative_paths_from_a_folder_above_the_prefix(probe: Probe) -> None:
    """`drive/x` in /, and `..` that climbs to / first."""
    for folder, path in ((b"/", b"drive/x"), (b"/etc", b"../drive"), (b"/usr/bin", b"./../../drive/x")):
        probe.ask("chdir", folder)
        assert probe.handed_over("stat", path), path
        assert not probe.handed_over("stat", path.replace(b"drive", b"drivex")), path
        number, _ = probe.ask("open", folder, os.O_RDONLY)
        probe.ask("chdir", b"/tmp")
        assert probe.handed_over("stat", path, dir_fd=number), path
        assert not probe.handed_over("stat", path.replace(b"drive", b"drivex"), dir_fd=number), path


def test_both_paths_of_a_call_are_looked_at(probe: Probe) -> None:
    """rename and link, with the drive first or second; the other path is read as well."""
    for name in ("rename", "link", "symlink"):
        _, seen = probe.ask(name, b"/tmp/none", b"/drive/x")
        assert seen[0].paths[-1] == b"/drive/x"
    _, seen = probe.ask("rename", b"/drive/x", b"/tmp/none")
    assert seen[0].paths == (b"/drive/x", b"/tmp/none")
    assert not probe.handed_over("rename", b"/tmp/none", b"/tmp/none-either")
    assert not probe.handed_over("symlink", b"/drive/x", b"/nowhere/link")


def test_opening_a_folder_above_a_prefix_is_handed_over(probe: Probe) -> None:
    """However spelt, because its listing shows the prefix; looking at it otherwise is not."""
    for folder, path in (
        (b"/tmp", b"/"),
        (b"/tmp", b"/etc/.."),
        (b"/", b"."),
        (b"/usr", b".."),
        (b"/tmp", b"/deep/er"),
    ):
        probe.ask("chdir", folder)
        assert probe.handed_over("open", path, os.O_RDONLY), (folder, path)
        assert not probe.handed_over("stat", path), (folder, path)
    probe.ask("chdir", b"/usr")
    assert not probe.handed_over("open", b".", os.O_RDONLY)
    assert not probe.handed_over("open", b"/usr", os.O_RDONLY)
