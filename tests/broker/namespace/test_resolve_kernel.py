"""Path resolution against the kernel: the same tree mounted in a namespace, the same paths, the same answers."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from kernel_resolution import Kernel, Refused

from broker.namespace.mounts import Mount, Mounts, Place
from broker.namespace.resolve import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    Kind,
    Resolution,
    Resolved,
    Seen,
    resolve,
)

DRIVE = Mount(0, b"/drive", "file:///0", False, 1.0)
DEEP = Mount(1, b"/deep/er/drive", "file:///1", False, 1.0)
SCHEME = Mount(2, b"sommelier:", "file:///2", False, 1.0)
MIRRORS = {0: b"/.mirrors/0", 1: b"/.mirrors/1", 2: b"/.mirrors/2"}
MOUNTS = Mounts([DRIVE, DEEP, SCHEME], MIRRORS)
BASES = [
    Place(None, b"/"),
    Place(None, b"/a"),
    Place(None, b"/deep"),
    Place(DRIVE, b""),
    Place(DRIVE, b"a/b"),
    Place(DEEP, b"a"),
    Place(SCHEME, b""),
]
LINKS = [Place(mount, b"" if mount else b"/") for mount in (None, DRIVE, DEEP, SCHEME)]
LINKS = [place.child(name) for place in LINKS for name in (b"l", b"m")]
LINKS += [place.child(b"a").child(b"l") for place in (Place(None, b"/"), Place(DRIVE, b""))]

folders = st.sampled_from([b"a", b"a", b"l", b"l", b"m", b"..", b"..", b".", b"drive", b"deep/er/drive", b"n", b"f"])
finals = st.sampled_from([b"f", b"f", b"a", b"l", b"l", b"m", b"n", b"n", b"..", b".", b"drive", b"deep"])
starts = st.sampled_from([b"", b"", b"", b"/", b"//", b"/drive/", b"/deep/er/drive/", b"/sommelier:/"])
ends = st.sampled_from([b"", b"", b"/", b"//", b"/.", b"/.."])


def spelt(longest: int) -> st.SearchStrategy[bytes]:
    """Paths of up to so many folders and a last name, which often exist."""
    return st.builds(
        lambda start, names, final, gap, end: start + gap.join([*names, final]) + end,
        starts,
        st.lists(folders, max_size=longest),
        finals,
        st.sampled_from([b"/", b"/", b"//"]),
        ends,
    )


texts = spelt(4)
trees = st.dictionaries(st.sampled_from(LINKS), spelt(1), max_size=8)
restrictions = st.sampled_from([0, RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV])


class Disk:
    """The trees in one folder of the disk, which the kernel has as its root: three mirrors and what is local."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        for place in (Place(None, b"/"), Place(DRIVE, b""), Place(DEEP, b""), Place(SCHEME, b"")):
            os.makedirs(self.path(place.child(b"a").child(b"b")))
            for file in (place.child(b"f"), place.child(b"a").child(b"f")):
                with open(self.path(file), "wb") as stream:
                    stream.write(b"not empty")
        for name in (b"/drive", b"/deep/er/drive", b"/sommelier:"):
            os.makedirs(root + name)

    def path(self, place: Place) -> bytes:
        return self.root + self.real(place)

    def real(self, place: Place) -> bytes:
        """Where a place is below the root."""
        return place.path if place.mount is None else MIRRORS[place.mount.number] + b"/" + place.path

    def look(self, place: Place) -> Seen | None:
        path = self.path(place)
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(mode):
            return Seen(Kind.SYMLINK, os.readlink(path))
        return Seen(Kind.DIRECTORY if stat.S_ISDIR(mode) else Kind.OTHER)

    def known_directory(self, place: Place) -> bool:
        return self.look(place) == Seen(Kind.DIRECTORY)

    def link(self, targets: dict[Place, bytes]) -> None:
        """Make these symlinks, and no others."""
        for place in LINKS:
            if os.path.lexists(self.path(place)):
                os.unlink(self.path(place))
        for place, target in targets.items():
            os.symlink(target, self.path(place))

    def answer(self, resolution: Resolution) -> Resolved | int:
        """What a resolution over this disk returns, or its errno."""
        try:
            question = next(resolution)
            while True:
                question = resolution.send(self.look(question.place))
        except StopIteration as stop:
            resolved: Resolved = stop.value
            return resolved
        except OSError as error:
            assert error.errno is not None
            return error.errno


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    return Disk(os.fsencode(tmp_path_factory.mktemp("tree")))


def judge(disk: Disk, mounts: dict[str, str]) -> Iterator[Kernel]:
    try:
        kernel = Kernel(os.fsdecode(disk.root), mounts)
    except Refused as problem:
        pytest.skip(f"no mount namespace to compare with: {problem}")
    with kernel:
        yield kernel


@pytest.fixture(scope="module")
def kernel(disk: Disk) -> Iterator[Kernel]:
    """The kernel with the mirrors mounted where the prefixes are."""
    mounts = {mount.virtual(b"").decode(): MIRRORS[mount.number].decode() for mount in MOUNTS}
    yield from judge(disk, mounts)


@pytest.fixture(scope="module")
def bare_kernel(disk: Disk) -> Iterator[Kernel]:
    """The kernel as the tracee has it: no prefix is there."""
    yield from judge(disk, {})


def opened(resolved: Resolved | int) -> bytes | int:
    """What an open(2) with O_PATH makes of it."""
    if isinstance(resolved, int):
        return resolved
    return resolved.place.virtual if resolved.seen else errno.ENOENT


def created(resolved: Resolved | int) -> bytes | int:
    """What an open(2) with O_CREAT makes of it."""
    if isinstance(resolved, int):
        return resolved
    return errno.EISDIR if resolved.seen == Seen(Kind.DIRECTORY) else resolved.place.virtual


def made(resolved: Resolved | int) -> bytes | int:
    """What mkdir(2), or an open(2) with O_EXCL, makes of it."""
    if isinstance(resolved, int):
        return resolved
    return errno.EEXIST if resolved.seen else resolved.place.virtual


O_CREATE, O_EXCLUSIVE = os.O_CREAT, os.O_CREAT | os.O_EXCL
Judgement = Callable[[Resolved | int], bytes | int]
CALLS: list[tuple[int, Judgement, dict[str, bool]]] = [
    (os.O_PATH, opened, {"follow": True}),
    (os.O_PATH | os.O_NOFOLLOW, opened, {"follow": False}),
    (O_CREATE, created, {"follow": True, "create": True}),
    (O_EXCLUSIVE, made, {"follow": False, "create": True}),
]
compared = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def is_comparable(text: bytes, links: dict[Place, bytes], how: int) -> bool:
    """Not where the kernel's mounts differ from ours: in a root of its own a scheme is still a name in any folder;
    and RESOLVE_NO_XDEV makes the kernel refuse even an absolute link to the same mount (nd_jump_root)."""
    if how & RESOLVE_NO_XDEV:
        return not any(place.mount is None and target.startswith(b"/") for place, target in links.items())
    return not (how & RESOLVE_IN_ROOT and any(b"sommelier:" in used for used in (text, *links.values())))


@compared
@given(st.sampled_from(BASES), texts, trees, st.sampled_from(CALLS), restrictions, st.booleans())
def test_as_the_kernel_with_mounts(
    disk: Disk,
    kernel: Kernel,
    base: Place,
    text: bytes,
    links: dict[Place, bytes],
    call: tuple[int, Judgement, dict[str, bool]],
    how: int,
    skip_known: bool,
) -> None:
    """A path on a drive leads where it would lead if the drive were mounted there, or to the same errno."""
    assume(is_comparable(text, links, how))
    disk.link(links)
    flags, judgement, options = call
    known = disk.known_directory if skip_known else None
    resolution = resolve(MOUNTS, base, text, how=how, known_directory=known, **options)
    assert judgement(disk.answer(resolution)) == kernel.open(base.virtual, text, flags, how)


@compared
@given(st.sampled_from(BASES), texts, trees)
def test_names_as_mkdir(disk: Disk, kernel: Kernel, base: Place, text: bytes, links: dict[Place, bytes]) -> None:
    """mkdir(2) makes the folder that the resolution by name found to be missing, or fails with the same errno."""
    disk.link(links)
    resolution = resolve(MOUNTS, base, text, follow=False, by_name=True)
    assert made(disk.answer(resolution)) == kernel.mkdir(base.virtual, text)


@compared
@given(st.sampled_from(BASES), texts, trees, st.booleans())
def test_what_did_not_cross_can_be_left_to_the_kernel(
    disk: Disk, bare_kernel: Kernel, base: Place, text: bytes, links: dict[Place, bytes], follow: bool
) -> None:
    """Without `crossed` the tracee's own kernel, which knows no prefix, gets to the same file of the mirror."""
    disk.link(links)
    resolved = disk.answer(resolve(MOUNTS, base, text, follow=follow))
    assume(isinstance(resolved, Resolved) and not resolved.crossed)
    assert isinstance(resolved, Resolved)
    flags = os.O_PATH | (0 if follow else os.O_NOFOLLOW)
    expected = os.path.normpath(disk.real(resolved.place)) if resolved.seen else errno.ENOENT
    assert bare_kernel.open(disk.real(base), text, flags) == expected


@pytest.mark.parametrize(
    "text",
    [b"x" * 255, b"x" * 256, b"n/" + b"x" * 256, b"f/" + b"x" * 256, b"", b"./" * 2047 + b"f", b"./" * 2047 + b"ff"],
)
@pytest.mark.parametrize("base", [Place(None, b"/"), Place(DRIVE, b"")])
def test_lengths(disk: Disk, kernel: Kernel, base: Place, text: bytes) -> None:
    """Names of more than 255 bytes and paths of more than 4,095 are refused, in the kernel's order."""
    resolved = disk.answer(resolve(MOUNTS, base, text, follow=True))
    assert opened(resolved) == kernel.open(base.virtual, text, os.O_PATH)


@pytest.mark.parametrize("length", [39, 40, 41])
def test_chains_of_links(disk: Disk, kernel: Kernel, length: int) -> None:
    """Forty links are followed, the next one is ELOOP."""
    folder = Place(DRIVE, b"chain%d" % length)
    os.mkdir(disk.path(folder))
    for number in range(length):
        os.symlink(b"%d" % (number + 1) if number + 1 < length else b"../f", disk.path(folder.child(b"%d" % number)))
    resolved = disk.answer(resolve(MOUNTS, folder, b"0", follow=True))
    assert opened(resolved) == kernel.open(folder.virtual, b"0", os.O_PATH)
    assert isinstance(resolved, Resolved) == (length <= 40)
