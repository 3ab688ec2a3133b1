"""Names, paths and targets: what a remote may hand out, and what it may be asked for."""

from __future__ import annotations

import os
import stat
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import errno_of
from broker.remotes import protocol
from broker.remotes.paths import NAME_MAX, PATH_MAX, valid_name, valid_path, valid_target
from broker.remotes.protocol import Attributes, Changes, RemoteError, Version


@given(st.one_of(st.binary(max_size=300), st.sampled_from([b".", b"..", b"", b"/", b"a/", b"\0", b"x" * 256])))
def test_a_valid_name_is_one_that_the_kernel_takes(name: bytes) -> None:
    """valid_name says of every string of bytes what mkdir(2) says of it as one component."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.fsencode(folder) + b"/" + name
        try:
            os.mkdir(path)
            made = name in os.listdir(os.fsencode(folder))
        except (OSError, ValueError):
            made = False
        assert valid_name(name) == made


@given(st.lists(st.binary(max_size=20)))
def test_a_valid_path_is_a_chain_of_valid_names(names: list[bytes]) -> None:
    """The root is valid; otherwise each component decides, and the length."""
    path = b"/".join(names)
    components = path.split(b"/") if path else []
    assert valid_path(path) == all(map(valid_name, components))


@pytest.mark.parametrize(
    "path",
    [b"/", b"/a", b"a/", b"a//b", b"a/./b", b"a/../b", b"..", b"a\0b", b"x" * (NAME_MAX + 1), b"a/" * 2048 + b"a"],
)
def test_bad_paths_are_refused(path: bytes) -> None:
    """What could lead elsewhere, or is too long for the kernel, is no path."""
    assert not valid_path(path)


@pytest.mark.parametrize("path", [b"", b"a", b"...", b"\xff", b"x" * NAME_MAX, (b"d" * 255 + b"/") * 15 + b"f"])
def test_good_paths_are_taken(path: bytes) -> None:
    """The root, odd bytes and the longest names are paths."""
    assert valid_path(path)


def test_targets_are_what_symlink_takes(tmp_path: os.PathLike[str]) -> None:
    """valid_target agrees with symlink(2), at its limits too."""
    for number, target in enumerate((b"", b"/", b"..", b"a\0", b"\xff", b"x" * (PATH_MAX - 1), b"x" * PATH_MAX)):
        try:
            os.symlink(target, os.fsencode(tmp_path) + b"/%d" % number)
            made = True
        except (OSError, ValueError):
            made = False
        assert valid_target(target) == made, target


def _errors() -> list[type[RemoteError]]:
    return [kind for kind in vars(protocol).values() if isinstance(kind, type) and issubclass(kind, RemoteError)]


@pytest.mark.parametrize("kind", _errors())
def test_every_error_has_an_errno_and_names_its_path(kind: type[RemoteError]) -> None:
    """Any path, UTF-8 or not, can be shown; the program gets a number."""
    error = kind(b"a/\xff\n", "why")
    assert "a/\\xff" in str(error) and "why" in str(error)
    assert errno_of(error) > 0


def test_changes_are_true_if_any() -> None:
    """Zero is a change, None is not."""
    assert not Changes()
    assert Changes(mode=0) and Changes(uid=0) and Changes(mtime_ns=0)


def test_attributes_know_their_kind() -> None:
    """Exactly one of the kinds, by the mode."""
    for mode, kind in ((stat.S_IFDIR, "is_directory"), (stat.S_IFREG, "is_regular"), (stat.S_IFLNK, "is_symlink")):
        attributes = Attributes(Version("1"), mode | 0o644, 0, 0, 0)
        kinds = {name: getattr(attributes, name) for name in ("is_directory", "is_regular", "is_symlink")}
        assert [name for name, true in kinds.items() if true] == [kind]
