"""Mounts and places: which path belongs to which drive, and what programs are shown."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.namespace.mounts import Mount, Mounts, Place

DRIVE = Mount(0, b"/drive", "file:///srv/share", False, 1.0)
DEEP = Mount(1, b"/mnt/remote/deep", "file:///srv/deep", True, 1.0)
SCHEME = Mount(2, b"sommelier:", "file:///srv/wine", False, 0.5)
MOUNTS = Mounts([DRIVE, DEEP, SCHEME], {0: b"/cache/m/0", 1: b"/cache/m/1", 2: b"/cache/m/10"})

names = st.binary(min_size=1, max_size=5).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)


def reversed_names(path: bytes) -> list[bytes]:
    return path.split(b"/")[::-1]


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        (Place(DRIVE, b""), b"/drive"),
        (Place(DRIVE, b"a/b"), b"/drive/a/b"),
        (Place(SCHEME, b""), b"/sommelier:"),
        (Place(SCHEME, b"a/b"), b"/sommelier:/a/b"),
        (Place(None, b"/etc"), b"/etc"),
    ],
)
def test_programs_are_shown_absolute_virtual_paths(place: Place, shown: bytes) -> None:
    """getcwd(2) begins with a slash for a scheme too, and a root has no slash behind it."""
    assert place.virtual == shown


@pytest.mark.parametrize(
    ("place", "parent"),
    [
        (Place(DRIVE, b"a/b"), Place(DRIVE, b"a")),
        (Place(DRIVE, b"a"), Place(DRIVE, b"")),
        (Place(DRIVE, b""), Place(None, b"/")),
        (Place(DEEP, b""), Place(None, b"/mnt/remote")),
        (Place(SCHEME, b""), Place(None, b"/")),
        (Place(None, b"/a/b"), Place(None, b"/a")),
        (Place(None, b"/a"), Place(None, b"/")),
        (Place(None, b"/"), Place(None, b"/")),
    ],
)
def test_parents(place: Place, parent: Place) -> None:
    """``..`` at a root leads to the folder above the prefix, for a scheme to ``/``."""
    assert place.parent() == parent


@given(st.sampled_from([None, DRIVE, SCHEME]), st.lists(names, min_size=1, max_size=4))
def test_child_and_parent_are_inverse(mount: Mount | None, components: list[bytes]) -> None:
    """Going to a child and back ends where it began, and the child's name is what was asked for."""
    place = Place(mount, b"" if mount else b"/")
    for name in components:
        child = place.child(name)
        assert (child.parent(), child.name, child.is_root) == (place, name, False)
        place = child
    assert posixpath.normpath(place.path) == place.path


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        (b"/drive", DRIVE),
        (b"/drivex", None),
        (b"/x/drive", None),
        (b"/mnt/remote", None),
        (b"/mnt/remote/deep", DEEP),
        (b"/cache/m/1", DEEP),
        (b"/cache/m/10", SCHEME),
        (b"/cache/m", None),
        (b"/sommelier:", SCHEME),
        (b"/home/u/sommelier:", SCHEME),
        (b"/home/sommelier", None),
        (b"/", None),
    ],
)
def test_roots_are_found_at_component_boundaries(path: bytes, mount: Mount | None) -> None:
    """Prefix, mirror tree and scheme are roots; a longer or shorter name is not."""
    assert MOUNTS.at(path) is mount


def test_several_names_lead_into_a_prefix_at_once() -> None:
    """A prefix is entered from any folder above it, and exactly its names are taken off."""
    left = reversed_names(b"mnt/remote/deep/x/y")
    assert MOUNTS.enter(b"/", left) is DEEP
    assert left == [b"y", b"x"]
    assert MOUNTS.enter(b"/mnt/remote", reversed_names(b"deep")) is DEEP
    assert MOUNTS.enter(b"/mnt/remote", [b"deeper"]) is None
    assert MOUNTS.enter(b"/mnt", [b"deep"]) is None
    assert MOUNTS.enter(b"/cache", reversed_names(b"m/0/x")) is DRIVE
    assert MOUNTS.enter(b"/anywhere", reversed_names(b"sommelier:/x")) is SCHEME


def test_parents_are_the_folders_whose_listing_shows_a_prefix() -> None:
    """Only directory prefixes have one; a folder above it counts as existing."""
    assert MOUNTS.parents() == (b"/", b"/mnt/remote")
    assert MOUNTS.is_above(b"/mnt")
    assert not MOUNTS.is_above(b"/home")


@pytest.mark.parametrize(
    ("real", "place"),
    [
        (b"/cache/m/1", Place(DEEP, b"")),
        (b"/cache/m/1/a/b", Place(DEEP, b"a/b")),
        (b"/cache/m/10/a", Place(SCHEME, b"a")),
        (b"/cache/m/100", Place(None, b"/cache/m/100")),
        (b"/cache/m/1/a (deleted)", Place(DEEP, b"a (deleted)")),
        (b"/drive", Place(None, b"/drive")),
        (b"/", Place(None, b"/")),
    ],
)
def test_real_paths(real: bytes, place: Place) -> None:
    """A mirror path is a drive place, at component boundaries."""
    assert MOUNTS.place_of(real) == place


def test_mounts_can_be_counted_and_walked() -> None:
    """In the order in which they were given."""
    assert (len(MOUNTS), list(MOUNTS)) == (3, [DRIVE, DEEP, SCHEME])
