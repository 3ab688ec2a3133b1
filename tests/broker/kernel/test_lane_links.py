"""Local symlinks onto a drive, which the kernel alone would not find."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tracee import Probe, probing


@pytest.fixture
def links(tmp_path: Path) -> Path:
    """Local links that lead onto the drive, and others that do not."""
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "file").touch()
    for name, target in {
        "in": "/drive/x",
        "root-of": "/drive",
        "chain": "in",
        "folder/up": "../in",
        "folder/deep/scheme": "sommelier:/x",
        "to-folder": "folder",
        "back": "to-folder/deep/..",
        "out": "/etc",
        "gone": "/nowhere/at/all",
        "gone-then": "/deep",
        "above": "/",
        "round": "round",
        "mirrored": str(tmp_path / "mirror"),
        "near": "/drivex",
    }.items():
        (tmp_path / name).symlink_to(target)
    return tmp_path


LINKED_HIT = [
    "in",
    "in/a/b",
    "root-of/y",
    "chain",
    "folder/up",
    "folder/deep/scheme",
    "to-folder/up/z",
    "back/up",
    "gone-then/er/drive/x",
    "above/drive",
    "gone-then/er/drive",
    "mirrored/file",
    "folder/../in",
    "out/../drive/x",
    "in/../../etc",
]
LINKED_MISS = ["to-folder/file", "out/passwd", "gone", "round", "near", "back/file", "folder/deep/../file", "in-not"]


@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("path", LINKED_HIT)
def test_local_links_into_a_drive_are_found(probe: Probe, links: Path, path: str, again: bool) -> None:
    """By absolute and relative paths and through a descriptor, the first time and when the neighbours are known."""
    number, _ = probe.ask("open", bytes(links), os.O_RDONLY)
    if again:
        for known in (".", "folder", "folder/deep", "folder/file", "to-folder/file"):
            probe.ask("stat", os.fsencode(links / known))
            probe.ask("stat", os.fsencode(known))
    assert probe.handed_over("stat", os.fsencode(f"{links}/{path}"))
    assert probe.handed_over("stat", os.fsencode(path))
    assert probe.handed_over("stat", os.fsencode(path), dir_fd=number)


@pytest.mark.parametrize("path", LINKED_MISS)
def test_other_local_links_are_the_kernels(probe: Probe, links: Path, path: str) -> None:
    """Links to elsewhere, dangling and circular ones."""
    number, _ = probe.ask("open", bytes(links), os.O_RDONLY)
    for _ in range(2):
        assert not probe.handed_over("stat", os.fsencode(f"{links}/{path}"))
        assert not probe.handed_over("stat", os.fsencode(path))
        assert not probe.handed_over("stat", os.fsencode(path), dir_fd=number)


def test_a_final_link_that_is_not_followed_is_the_kernels(probe: Probe, links: Path) -> None:
    """lstat, readlink and unlink act on the link; with a slash behind it, it is followed."""
    link = bytes(links / "in")
    assert not probe.handed_over("stat", link, follow_symlinks=False)
    assert not probe.handed_over("readlink", link)
    assert probe.handed_over("stat", link + b"/", follow_symlinks=False)
    assert probe.handed_over("stat", bytes(links / "root-of" / "x"), follow_symlinks=False)
    assert not probe.handed_over("unlink", link)


@pytest.mark.parametrize("make", ["symlink", "rename", "link"])
def test_a_link_that_the_program_makes_counts_at_once(probe: Probe, links: Path, make: str) -> None:
    """The name was just known not to be one."""
    new = bytes(links / "new")
    for _ in range(3):
        assert not probe.handed_over("stat", new)
        assert not probe.handed_over("stat", b"new")
        assert probe.ask(make, b"/drive/x" if make == "symlink" else bytes(links / "chain"), new)[0] is None
        assert probe.handed_over("stat", b"new")
        assert probe.handed_over("stat", new)
        probe.ask("unlink", new)
        (links / "chain").unlink(missing_ok=True)
        (links / "chain").symlink_to("in")


def test_a_link_that_somebody_else_makes_counts_when_told(probe: Probe, links: Path) -> None:
    """forget_links() drops what was learned."""
    assert not probe.handed_over("stat", bytes(links / "theirs"))
    (links / "theirs").symlink_to("/drive")
    probe.lane.forget_links()
    assert probe.handed_over("stat", bytes(links / "theirs"))


def test_changing_the_working_directory_changes_relative_paths(probe: Probe, links: Path) -> None:
    """The same text, known to be harmless in one folder, leads onto the drive in the next."""
    (links / "other").mkdir()
    (links / "other" / "name").symlink_to("/drive/x")
    number, _ = probe.ask("open", bytes(links / "other"), os.O_RDONLY)
    for change, folder in (("chdir", b"other"), ("fchdir", number)):
        assert not probe.handed_over("stat", b"name")
        assert not probe.handed_over("stat", b"name")
        probe.ask(change, folder)
        assert probe.handed_over("stat", b"name")
        probe.ask("chdir", b"..")


def test_a_reused_descriptor_is_looked_at_anew(probe: Probe, links: Path) -> None:
    """Nothing is remembered of a number: the same name through it leads somewhere else after it was reopened."""
    (links / "other").mkdir()
    (links / "other" / "name").symlink_to("/drive/x")
    first, _ = probe.ask("open", bytes(links / "folder"), os.O_RDONLY)
    assert not probe.handed_over("stat", b"name", dir_fd=first)
    probe.ask("close", first)
    second, _ = probe.ask("open", bytes(links / "other"), os.O_RDONLY)
    assert first == second
    assert probe.handed_over("stat", b"name", dir_fd=second)


TREE = {
    "a": None,
    "a/b": None,
    "a/b/c": None,
    "a/in": "/drive/x",
    "a/b/up": "..",
    "a/b/same": ".",
    "to-b": "a/b",
    "a/b/c/far": "../../../to-b/c",
    "a/out": "/usr/bin",
    "a/b/gone": "nothing",
    "a/drive": None,
}


def passes_a_drive(path: str) -> bool:
    """The kernel's walk (path_resolution(7)) over texts: whether it comes by /drive. Behind a name that does not
    exist only the text counts, because what is on a drive does not exist here either."""
    followed = 0
    done: list[str] = []
    rest = path.split("/")
    gone = False
    while rest:
        name = rest.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            done = done[:-1]
            continue
        here = "/" + "/".join([*done, name])
        if here == "/drive":
            return True
        gone = gone or not os.path.lexists(here)
        if not gone and os.path.islink(here):
            followed += 1
            if followed > 40:
                return False
            target = os.readlink(here)
            rest = target.split("/") + rest
            done = [] if target.startswith("/") else done
        else:
            done.append(name)
    return False


@pytest.fixture(scope="module")
def tree() -> Iterator[tuple[Probe, str]]:
    """One program for many paths, in a folder of TREE two levels below the root."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        for name, target in TREE.items():
            if target is None:
                os.mkdir(f"{folder}/{name}")
            else:
                os.symlink(target, f"{folder}/{name}")
        with probing() as probe:
            yield probe, folder


components = st.sampled_from(
    ["", ".", "..", "a", "b", "c", "in", "up", "same", "to-b", "far", "out", "gone", "drive", "drivex", "none"]
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    base=st.sampled_from(["", "/a", "/a/b", "/a/b/c"]),
    start=st.sampled_from(["absolute", "inside", "relative", "descriptor"]),
    parts=st.lists(components, min_size=1, max_size=8),
    follow=st.booleans(),
)
def test_any_spelling_is_judged_as_the_kernel_walks(
    tree: tuple[Probe, str], base: str, start: str, parts: list[str], follow: bool
) -> None:
    """What comes by the drive is handed over whatever the spelling; without `..` nothing else is."""
    probe, folder = tree
    text = "/".join(parts)
    keywords = {} if follow else {"follow_symlinks": False}
    where = folder + base
    if start == "absolute":
        text = whole = "/" + text
    elif start == "inside":
        text = whole = f"{where}/{text}"
    else:
        text = text.lstrip("/") or "."
        whole = f"{where}/{text}"
        if start == "relative":
            probe.ask("chdir", where)
        else:
            keywords["dir_fd"] = probe.ask("open", where, os.O_RDONLY)[0]
    seen = probe.handed_over("stat", text, **keywords)
    if start == "descriptor":
        probe.ask("close", keywords["dir_fd"])
    final = whole.rstrip("/") == whole and not whole.endswith("/.") and not follow
    expected = passes_a_drive(os.path.dirname(whole) if final and os.path.islink(whole) else whole)
    if expected or ".." not in text:
        assert seen == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot is for root")
def test_links_are_looked_up_in_the_programs_root(tmp_path: Path) -> None:
    """After chroot, a link inside the new root counts, and the broker's own files do not."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "in").symlink_to("/drive/x")
    (tmp_path / "etc").symlink_to("/drive/etc")
    with probing() as probe:
        probe.ask("chroot", bytes(tmp_path))
        probe.ask("chdir", b"/")
        assert probe.handed_over("stat", b"/folder/in")
        assert probe.handed_over("stat", b"folder/in")
        assert probe.handed_over("stat", b"/etc/passwd")
        assert probe.handed_over("stat", b"/drive/x")
        assert not probe.handed_over("stat", b"/folder/none")
        assert not probe.handed_over("stat", b"folder/none")
        assert not probe.handed_over("stat", b"/usr")


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot is for root")
def test_other_programs_are_not_changed_by_somebodys_chroot(tmp_path: Path) -> None:
    """Only the one that did it looks elsewhere."""

    def elsewhere() -> None:
        child = os.fork()
        if child == 0:
            os.chroot(tmp_path)
            os._exit(0)
        os.waitpid(child, 0)

    (tmp_path / "in").symlink_to("/drive/x")
    with probing({"elsewhere": elsewhere}) as probe:
        probe.ask("elsewhere")
        probe.ask("chdir", bytes(tmp_path))
        assert not probe.handed_over("stat", b"/etc/passwd")
        assert not probe.handed_over("stat", b"nothing")
        assert probe.handed_over("stat", b"in")
