"""Path resolution: every rule by example, over a tree in a dict."""

from __future__ import annotations

import errno
from collections.abc import Mapping

import pytest

from broker.namespace.mounts import Mount, Mounts, Place
from broker.namespace.resolve import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    Kind,
    Resolution,
    Resolved,
    Seen,
    resolve,
)

DRIVE = Mount(0, b"/drive", "file:///srv/share", False, 1.0)
DEEP = Mount(1, b"/none/such/deep", "file:///srv/deep", False, 1.0)
SCHEME = Mount(2, b"sommelier:", "file:///srv/wine", False, 1.0)
MOUNTS = Mounts([DRIVE, DEEP, SCHEME], {0: b"/cache/0", 1: b"/cache/1", 2: b"/cache/2"})

Tree = Mapping[bytes, Seen]
D, F = Seen(Kind.DIRECTORY), Seen(Kind.OTHER)


def link(target: bytes) -> Seen:
    return Seen(Kind.SYMLINK, target)


TREE: dict[bytes, Seen] = {
    b"/etc": D,
    b"/etc/passwd": F,
    b"/etc/up": link(b".."),
    b"/home": D,
    b"/home/u": D,
    b"/home/u/in": link(b"/drive/dir"),
    b"/home/u/wine": link(b"sommelier:/red"),
    b"/home/u/mirror": link(b"/cache/0/dir"),
    b"/proc": D,
    b"/proc/cwd": Seen(Kind.MAGIC, b"/cache/0/dir"),
    b"/proc/root": Seen(Kind.MAGIC, b"/"),
    b"/proc/fd": Seen(Kind.MAGIC, b"/etc/passwd"),
    b"/proc/pipe": Seen(Kind.MAGIC, b"pipe:[7]"),
    b"/drive/dir": D,
    b"/drive/dir/file": F,
    b"/drive/dir/sub": D,
    b"/drive/dir/up": link(b"../other"),
    b"/drive/other": D,
    b"/drive/other/x": F,
    b"/drive/file": F,
    b"/drive/tofile": link(b"file"),
    b"/drive/todir": link(b"dir"),
    b"/drive/slashed": link(b"file/"),
    b"/drive/self": link(b"/drive/dir"),
    b"/drive/out": link(b"/etc/passwd"),
    b"/drive/climb": link(b"../etc"),
    b"/drive/top": link(b"/"),
    b"/drive/dangling": link(b"dir/new"),
    b"/drive/newdir": link(b"dir/new/"),
    b"/drive/wine": link(b"sommelier:/red"),
    b"/drive/loop": link(b"loop"),
    b"/drive/empty": link(b""),
    b"/drive/long": link(b"x" * 4096),
    b"/drive/sommelier:": F,
    b"/drive/stdin": link(b"/proc/pipe"),
    b"/none/such/deep/x": F,
    b"/sommelier:/red": D,
    b"/sommelier:/red/cork": F,
}
for number in range(50):
    TREE[b"/drive/chain%d" % number] = link(b"chain%d" % (number - 1) if number else b"file")


def drive(resolution: Resolution, tree: Tree = TREE, looks: list[bytes] | None = None) -> Resolved:
    """Answer a resolution from a tree by virtual paths; `looks` gets the paths that were looked at."""
    try:
        look = next(resolution)
        while True:
            if looks is not None:
                looks.append(look.place.virtual)
            look = resolution.send(tree.get(look.place.virtual))
    except StopIteration as stop:
        resolved: Resolved = stop.value
        return resolved


def go(text: bytes, base: Place = Place(DRIVE, b""), **options: bool | int) -> Resolved:  # noqa: B008
    options.setdefault("follow", True)
    return drive(resolve(MOUNTS, base, text, **options))  # type: ignore[arg-type]


def error(text: bytes, base: Place = Place(DRIVE, b""), **options: bool | int) -> int | None:  # noqa: B008
    with pytest.raises(OSError) as caught:
        go(text, base, **options)
    return caught.value.errno


LOCAL = Place(None, b"/home/u")
INSIDE = Place(DRIVE, b"dir")


@pytest.mark.parametrize(
    ("base", "text", "shown", "crossed"),
    [
        (LOCAL, b"/drive", b"/drive", True),
        (LOCAL, b"/drive/", b"/drive", True),
        (LOCAL, b"//drive/./dir//file", b"/drive/dir/file", True),
        (LOCAL, b"/drivex", b"/drivex", False),
        (LOCAL, b"/etc/passwd", b"/etc/passwd", False),
        (LOCAL, b"../../drive/file", b"/drive/file", True),
        (LOCAL, b"/etc/../drive/file", b"/drive/file", True),
        (LOCAL, b"/none/such/deep/x", b"/none/such/deep/x", True),
        (LOCAL, b"/none/such/../such/deep/x", b"/none/such/deep/x", True),
        (LOCAL, b"/cache/0/dir/file", b"/drive/dir/file", True),
        (LOCAL, b"sommelier:/red", b"/sommelier:/red", True),
        (LOCAL, b"./sommelier:/red", b"/sommelier:/red", True),
        (LOCAL, b"/home/u/sommelier:/red", b"/sommelier:/red", True),
        (LOCAL, b"sommelier://red/./cork", b"/sommelier:/red/cork", True),
        (LOCAL, b"sommelier:", b"/sommelier:", True),
        (INSIDE, b"sommelier:/red", b"/sommelier:/red", True),
        (INSIDE, b"../sommelier:", b"/drive/sommelier:", False),
        (INSIDE, b"file", b"/drive/dir/file", False),
        (INSIDE, b"../file", b"/drive/file", False),
        (INSIDE, b"sub/../../file", b"/drive/file", False),
        (INSIDE, b"../..", b"/", True),
        (INSIDE, b"../../etc/passwd", b"/etc/passwd", True),
        (INSIDE, b"../../drive/file", b"/drive/file", True),
        (INSIDE, b"/etc/passwd", b"/etc/passwd", False),
        (Place(SCHEME, b"red"), b"../../etc", b"/etc", True),
        (Place(DEEP, b""), b"..", b"/none/such", True),
        (Place(None, b"/drive/hidden"), b"..", b"/drive", True),
    ],
)
def test_prefixes_and_dots(base: Place, text: bytes, shown: bytes, crossed: bool) -> None:
    """Prefixes hold at component boundaries, however spelt; ``..`` leaves a drive into the folder above."""
    resolved = go(text, base)
    assert (resolved.place.virtual, resolved.crossed) == (shown, crossed)


@pytest.mark.parametrize(
    ("base", "text", "shown", "crossed"),
    [
        (INSIDE, b"../tofile", b"/drive/file", False),
        (INSIDE, b"up/x", b"/drive/other/x", False),
        (INSIDE, b"up/../file", b"/drive/file", False),
        (INSIDE, b"../self/file", b"/drive/dir/file", True),
        (INSIDE, b"../out", b"/etc/passwd", True),
        (INSIDE, b"../climb/passwd", b"/etc/passwd", True),
        (INSIDE, b"../climb/up/drive/file", b"/drive/file", True),
        (INSIDE, b"../top", b"/", True),
        (INSIDE, b"../wine/cork", b"/sommelier:/red/cork", True),
        (LOCAL, b"in/file", b"/drive/dir/file", True),
        (LOCAL, b"in/..", b"/drive", True),
        (LOCAL, b"in/../..", b"/", True),
        (LOCAL, b"wine/cork", b"/sommelier:/red/cork", True),
        (LOCAL, b"mirror/file", b"/drive/dir/file", True),
        (LOCAL, b"/proc/cwd/file", b"/drive/dir/file", True),
        (LOCAL, b"/proc/root/drive/file", b"/drive/file", True),
        (LOCAL, b"/proc/fd", b"/etc/passwd", False),
        (LOCAL, b"/proc/pipe", b"/proc/pipe", False),
        (INSIDE, b"../stdin", b"/proc/pipe", True),
    ],
)
def test_symlinks(base: Place, text: bytes, shown: bytes, crossed: bool) -> None:
    """Links lead where the program would see them lead: within a drive, out of it, into it, through /proc."""
    resolved = go(text, base)
    assert (resolved.place.virtual, resolved.crossed) == (shown, crossed)


def test_a_final_link_is_only_followed_on_demand() -> None:
    """lstat(2) and O_NOFOLLOW get the link itself; links on the way are followed all the same."""
    assert go(b"tofile", follow=False).seen == link(b"file")
    assert go(b"todir/up", follow=False).place == Place(DRIVE, b"dir/up")
    assert go(b"loop", follow=False).seen == link(b"loop")


def test_a_trailing_slash_asks_for_a_directory() -> None:
    """It follows a link even for lstat(2), and is ENOTDIR on anything but a directory, of a link's text too."""
    assert go(b"todir/", follow=False).place == Place(DRIVE, b"dir")
    assert go(b"dir/").trailing
    assert go(b"dir/.").trailing
    assert not go(b"dir").trailing
    for text in (b"file/", b"file/.", b"file/..", b"tofile/", b"slashed", b"file/x"):
        assert error(text) == errno.ENOTDIR
    assert go(b"missing/").trailing


def test_calls_that_act_on_a_name_do_not_follow_through_a_slash() -> None:
    """mkdir("link/") is EEXIST and rmdir("link/") ENOTDIR in the kernel: the link itself is what is found."""
    resolved = go(b"todir/", follow=False, by_name=True)
    assert (resolved.seen, resolved.trailing, resolved.name) == (link(b"dir"), True, b"todir")


def test_missing_names() -> None:
    """Only the last component may be missing, and only where the caller allows it."""
    resolved = go(b"dir/new")
    assert (resolved.place, resolved.seen, resolved.name) == (Place(DRIVE, b"dir/new"), None, b"new")
    assert error(b"dir/new", missing_ok=False) == errno.ENOENT
    for text in (b"none/new", b"none/.", b"none/..", b"", b"empty"):
        assert error(text) == errno.ENOENT


def test_creation_through_a_dangling_link() -> None:
    """open(2) with O_CREAT creates the target of a link; where a slash asks for a directory it is EISDIR."""
    assert go(b"dangling", create=True).place == Place(DRIVE, b"dir/new")
    assert go(b"dangling", create=True).name == b"new"
    assert go(b"dangling", create=True, follow=False).seen == link(b"dir/new")
    for text in (b"new/", b"file/", b"dir/", b"newdir"):
        assert error(text, create=True) == errno.EISDIR


@pytest.mark.parametrize("text", [b".", b"..", b"dir/.", b"dir/..", b"/", b"/drive", b"/drive/", b"top", b"dir/./"])
def test_dots_and_roots_have_no_name(text: bytes) -> None:
    """rmdir("."), unlink("..") and rename("/") are refused by their callers, who see an empty name."""
    resolved = go(text)
    assert (resolved.name, resolved.seen) == (b"", D)


def test_limits() -> None:
    """NAME_MAX and PATH_MAX count bytes; the 41st link is one too many; order as in the kernel."""
    assert go(b"x" * 255).seen is None
    assert error(b"x" * 256) == errno.ENAMETOOLONG
    assert error(b"none/" + b"x" * 256) == errno.ENOENT
    assert go(b"./" * 2047 + b"x").seen is None
    assert error(b"./" * 2047 + b"xx") == errno.ENAMETOOLONG
    assert error(b"long") == errno.ENAMETOOLONG
    assert go(b"chain39").place == Place(DRIVE, b"file")
    assert error(b"chain40") == errno.ELOOP
    assert error(b"loop") == error(b"loop/x") == errno.ELOOP


def test_restrictions_of_openat2() -> None:
    """RESOLVE_* hold the walk in its folder, on its drive, or off links, with the errnos of openat2(2)."""
    for text in (b"../..", b"../self", b"../out", b"/drive/dir", b"sommelier:/red"):
        assert error(text, INSIDE, how=RESOLVE_BENEATH) == errno.EXDEV
    assert go(b"sub/../file", INSIDE, how=RESOLVE_BENEATH).place == Place(DRIVE, b"dir/file")
    assert go(b"../../file", INSIDE, how=RESOLVE_IN_ROOT).place == Place(DRIVE, b"dir/file")
    assert go(b"/file", INSIDE, how=RESOLVE_IN_ROOT).place == Place(DRIVE, b"dir/file")
    assert error(b"self/file", how=RESOLVE_IN_ROOT) == errno.ENOENT
    assert go(b"top", how=RESOLVE_IN_ROOT).place == Place(DRIVE, b"")
    assert error(b"tofile", how=RESOLVE_NO_SYMLINKS) == errno.ELOOP
    assert go(b"tofile", how=RESOLVE_NO_SYMLINKS, follow=False).seen == link(b"file")
    for text in (b"..", b"self", b"top"):
        assert error(text, how=RESOLVE_NO_XDEV) == errno.EXDEV
    assert error(b"/drive", LOCAL, how=RESOLVE_NO_XDEV) == errno.EXDEV
    assert go(b"todir/up/x", how=RESOLVE_NO_XDEV).place == Place(DRIVE, b"other/x")
    assert error(b"/proc/cwd", LOCAL, how=RESOLVE_NO_MAGICLINKS) == errno.ELOOP
    assert error(b"/proc/cwd", LOCAL, how=RESOLVE_NO_XDEV) == errno.EXDEV
    assert error(b"file", how=RESOLVE_BENEATH | RESOLVE_IN_ROOT) == errno.EINVAL


def test_one_look_a_component_and_none_for_known_directories() -> None:
    """A warm deep path costs a single question: for its last component."""
    looks: list[bytes] = []
    drive(resolve(MOUNTS, LOCAL, b"/drive/dir/sub/x", follow=True), looks=looks)
    assert looks == [b"/drive/dir", b"/drive/dir/sub", b"/drive/dir/sub/x"]
    looks.clear()
    known = {b"/drive/dir", b"/drive/dir/sub"}
    drive(
        resolve(
            MOUNTS,
            LOCAL,
            b"/drive/dir/sub/x",
            follow=True,
            known_directory=lambda place: place.virtual in known,
        ),
        looks=looks,
    )
    assert looks == [b"/drive/dir/sub/x"]


def test_an_error_of_a_look_ends_the_resolution() -> None:
    """What the driver throws in, such as EACCES of a folder, reaches the caller as it is."""
    resolution = resolve(MOUNTS, INSIDE, b"sub/x", follow=True)
    next(resolution)
    with pytest.raises(PermissionError):
        resolution.throw(PermissionError(errno.EACCES, "no"))
