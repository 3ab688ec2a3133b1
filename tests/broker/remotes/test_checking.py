"""Nothing that no file system could hold gets past the check, and all else does."""

from __future__ import annotations

import errno
import itertools
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.errors import errno_of
from broker.remotes import checking
from broker.remotes.checking import Checked, check
from broker.remotes.protocol import Attributes, BadAnswer, Changes, Entry, NotFound, Remote, Unavailable, Version

from .conformance import Conformance
from .helpers import NOTHING, names_in, put
from .memory import ALL, Memory

FILE = Attributes(Version("v"), stat.S_IFREG | 0o644, 0, 0, 0, uid=0, gid=0)
LINK = replace(FILE, mode=stat.S_IFLNK | 0o777, target=b"x")
WRONG = {
    "negative size": replace(FILE, size=-1),
    "enormous size": replace(FILE, size=1 << 63),
    "no kind": replace(FILE, mode=0o644),
    "unknown kind": replace(FILE, mode=0o050644),
    "negative mode": replace(FILE, mode=-1),
    "enormous mode": replace(FILE, mode=stat.S_IFREG | 1 << 16),
    "late": replace(FILE, mtime_ns=1 << 63),
    "early": replace(FILE, atime_ns=-(1 << 63) - 1),
    "negative owner": replace(FILE, uid=-1),
    "the owner that means unchanged": replace(FILE, gid=0xFFFFFFFF),
    "negative names": replace(FILE, nlink=-1),
    "too many names": replace(FILE, nlink=1 << 32),
    "negative blocks": replace(FILE, blocks=-8),
    "too many blocks": replace(FILE, blocks=1 << 60),
    "negative device": replace(FILE, rdev=-1),
    "enormous device": replace(FILE, rdev=1 << 64),
    "no target": replace(LINK, target=None),
    "empty target": replace(LINK, target=b""),
    "NUL in target": replace(LINK, target=b"a\0b"),
    "long target": replace(LINK, target=b"a" * 4096),
    "long version": replace(FILE, version=Version("v" * 5000)),
    "a version that is no text": replace(FILE, version=Version("\udc80")),
    "long identity": replace(FILE, identity="v" * 5000),
}
NAMES = [b"", b".", b"..", b"a/b", b"/", b"a\0b", b"n" * 256, b"n" * 300, b"../../escaped", b"/tmp/escaped"]


class TestCheckedMemory(Conformance):
    @pytest.fixture
    def remote(self) -> Remote:
        return Checked(Memory(), pytest.fail)


class Lying(Memory):
    """Answers what it was told to; everything else as a remote does."""

    def __init__(self, **answers: Any) -> None:
        super().__init__(ALL)
        self._answers = answers

    def __getattribute__(self, name: str) -> Any:
        answers = object.__getattribute__(self, "__dict__").get("_answers", {})
        if name not in answers:
            return super().__getattribute__(name)

        async def answer(*_: object, **__: object) -> Any:
            if isinstance(answers[name], Exception):
                raise answers[name]
            return answers[name]

        return answer


class Endless(Memory):
    """Lists what an iterator has, a page after the other."""

    def __init__(self, pages: Any) -> None:
        super().__init__(ALL)
        self._pages = pages

    async def list(self, path: bytes) -> AsyncIterator[Sequence[Entry]]:
        for page in self._pages:
            yield page


@pytest.mark.parametrize("attributes", WRONG.values(), ids=WRONG)
async def test_impossible_nodes_are_refused(attributes: Attributes) -> None:
    """From every operation that tells of a node, it is EIO with the path in it, and told once each time."""
    said: list[BadAnswer] = []
    tells = ("stat", "write", "mkdir", "symlink", "mknod", "link", "rename", "set_attributes", "set_xattr")
    remote = Checked(Lying(**dict.fromkeys(tells, attributes)), said.append)
    calls = [
        remote.stat(b"d/f"),
        remote.write(b"d/f", 0, None, NOTHING),
        remote.mkdir(b"d/f", NOTHING),
        remote.symlink(b"d/f", b"x", NOTHING),
        remote.mknod(b"d/f", stat.S_IFIFO, 0, NOTHING),
        remote.link(b"x", b"d/f"),
        remote.rename(b"x", b"d/f"),
        remote.set_attributes(b"d/f", Changes(mode=0o600)),
        remote.set_xattr(b"d/f", b"user.a", b"1"),
    ]
    for number, call in enumerate(calls, 1):
        with pytest.raises(BadAnswer) as caught:
            await call
        assert errno_of(caught.value) == errno.EIO and "d/f" in str(caught.value)
        assert len(said) == number and said[-1].path == b"d/f" and said[-1].detail
    with pytest.raises(BadAnswer):
        await names_in(Checked(Endless([[Entry(b"f", attributes)]]), said.append), b"")


@pytest.mark.parametrize("name", NAMES)
async def test_names_that_no_folder_has(name: bytes) -> None:
    """A page with one of them is refused as a whole: what it is a listing of, nobody knows."""
    said: list[BadAnswer] = []
    remote = Checked(Endless([[Entry(b"good", FILE), Entry(name, FILE)]]), said.append)
    with pytest.raises(BadAnswer):
        await names_in(remote, b"d")
    assert [error.path for error in said] == [b"d"] and len(str(said[0])) < 1000


async def test_a_name_twice() -> None:
    """In one page, or in two."""
    for pages in ([[Entry(b"a", FILE)] * 2], [[Entry(b"a", FILE)]] * 2):
        with pytest.raises(BadAnswer):
            await names_in(Checked(Endless(pages), lambda _: None), b"")


async def test_names_that_are_odd_but_valid() -> None:
    """Any bytes but NUL and the slash, up to 255 of them."""
    names = [b"\xff\xfe", b"\n", b"...", b" ", b"-rf", b"n" * 255, "ä".encode("latin-1"), b"\x1b[2J"]
    remote = Checked(Endless([[Entry(name, FILE) for name in names]]), pytest.fail)
    assert await names_in(remote, b"") == sorted(names)


async def test_a_listing_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of empty pages, or of ever new names."""
    monkeypatch.setattr(checking, "ENTRIES_MAX", 1000)
    fresh = ([Entry(b"%d" % number, FILE)] for number in itertools.count())
    for pages in (itertools.repeat([]), fresh):
        with pytest.raises(BadAnswer, match="no end"):
            await names_in(Checked(Endless(pages), lambda _: None), b"")


async def test_a_few_empty_pages_are_no_lie() -> None:
    """A remote may filter what it lists."""
    pages = [[], [Entry(b"a", FILE)], *[[]] * 50, [Entry(b"b", FILE)]]
    assert await names_in(Checked(Endless(pages), pytest.fail), b"") == [b"a", b"b"]


async def test_more_than_was_asked_for() -> None:
    """A read that returns too much; less is for whoever knows the size."""
    with pytest.raises(BadAnswer):
        await Checked(Lying(read=b"12345"), lambda _: None).read(b"f", Version("v"), 0, 4)
    assert await Checked(Lying(read=b"1234"), pytest.fail).read(b"f", Version("v"), 0, 10) == b"1234"


@pytest.mark.parametrize("target", [b"", b"a\0b", b"a" * 4096])
async def test_texts_that_no_symlink_has(target: bytes) -> None:
    """By readlink as by stat."""
    with pytest.raises(BadAnswer):
        await Checked(Lying(readlink=target), lambda _: None).readlink(b"l")


@pytest.mark.parametrize(
    "found",
    [
        {b"security.capability": b"\1\0\0\2"},
        {b"trusted.overlay.opaque": b"y"},
        {b"user.": b"1"},
        {b"user.a\0b": b"1"},
        {b"user." + b"a" * 251: b"1"},
        {b"user.a": b"1" * 65537},
        {b"user.%d" % number: b"1" * 65536 for number in range(17)},
    ],
)
async def test_extended_attributes_that_no_file_has(found: Mapping[bytes, bytes]) -> None:
    """Not the user's, badly named, or too large."""
    with pytest.raises(BadAnswer):
        await Checked(Lying(get_xattrs=found), lambda _: None).get_xattrs(b"f")


async def test_the_root_is_a_folder() -> None:
    """Whatever it was before."""
    with pytest.raises(BadAnswer):
        await Checked(Lying(stat=FILE), lambda _: None).stat(b"")


async def test_something_else_was_made() -> None:
    """A folder where a file was written, and so on."""
    remote = Checked(Lying(write=LINK, mkdir=FILE, symlink=FILE, mknod=FILE), lambda _: None)
    for call in (
        remote.write(b"f", 0, None, NOTHING),
        remote.mkdir(b"f", NOTHING),
        remote.symlink(b"f", b"x", NOTHING),
        remote.mknod(b"f", stat.S_IFIFO, 0, NOTHING),
    ):
        with pytest.raises(BadAnswer):
            await call


async def test_rubbish_is_no_surprise(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that no remote may raise is logged with its traceback, and EIO; those that it may raise pass."""
    said: list[BadAnswer] = []
    with pytest.raises(BadAnswer):
        await Checked(Lying(stat=KeyError("size")), said.append).stat(b"f")
    assert len(said) == 1 and "KeyError" in caplog.text
    with pytest.raises(Unavailable) as caught:
        await Checked(Lying(stat=ConnectionResetError(errno.ECONNRESET, "reset")), pytest.fail).stat(b"f")
    assert not isinstance(caught.value, BadAnswer)
    with pytest.raises(NotFound):
        await Checked(Lying(stat=NotFound(b"f")), pytest.fail).stat(b"f")


async def test_what_a_remote_is_asked_gets_through() -> None:
    """The steps of a write are counted through the check."""

    class Counting(Memory):
        async def write(self, *arguments: Any, step: Any, **named: Any) -> Attributes:
            step(3)
            return await super().write(*arguments, **named)

    steps: list[int] = []
    remote = Checked(Counting(), pytest.fail)
    made = await put(remote, b"f", b"abc")
    await remote.write(b"f", 0, made.version, NOTHING, step=steps.append)
    assert steps == [3]


@given(
    st.builds(
        Attributes,
        version=st.text().map(Version),
        mode=st.integers(),
        size=st.integers(),
        mtime_ns=st.integers(),
        atime_ns=st.integers(),
        nlink=st.integers(),
        uid=st.none() | st.integers(),
        gid=st.none() | st.integers(),
        blocks=st.none() | st.integers(),
        rdev=st.integers(),
        target=st.none() | st.binary(),
        identity=st.none() | st.text(),
    )
)
def test_all_else_is_one_error(attributes: Attributes) -> None:
    """Whatever numbers and texts there are: it is a node, or BadAnswer."""
    try:
        check(b"f", attributes)
    except BadAnswer:
        return
    assert stat.S_IFMT(attributes.mode) and 0 <= attributes.size < 1 << 63
