"""The file: remote against the model: random operations, the same outcomes, the same trees."""

from __future__ import annotations

import asyncio
import stat
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path as LocalPath

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broker.remotes.paths import Path
from broker.remotes.protocol import Attributes, Changes, Remote, RemoteError
from broker.remotes.registry import open_file
from broker.settings import RemoteSettings

from .helpers import names_in, source
from .memory import Memory

NAMES = [b"a", b"b", b"\xff"]
PATHS = st.lists(st.sampled_from(NAMES), min_size=0, max_size=3).map(b"/".join)
CONTENTS = st.binary(max_size=20)
SECONDS = st.one_of(st.none(), st.integers(0, 4_000_000_000).map(lambda seconds: seconds * 1_000_000_000 + 123_000))
CHANGES = st.builds(
    Changes,
    mode=st.one_of(st.none(), st.integers(0, 0o777)),
    mtime_ns=SECONDS,
    atime_ns=st.none(),
)


async def outcome(act: Awaitable[object]) -> object:
    """What can be compared of an answer: the kind of node and what we set, or the kind of error."""
    try:
        answer = await act
    except RemoteError as error:
        return type(error)
    return seen(answer) if isinstance(answer, Attributes) else answer


def seen(attributes: Attributes) -> tuple[object, ...]:
    if attributes.is_directory:
        return (attributes.mode,)
    links = None if attributes.identity is None else attributes.nlink
    return (attributes.mode, attributes.target, links, attributes.size)


async def snapshot(remote: Remote, path: Path = b"") -> dict[Path, object]:
    """The tree below `path`, with all that both remotes should agree about."""
    tree: dict[Path, object] = {}
    for name in await names_in(remote, path):
        below = path + b"/" + name if path else name
        attributes = await remote.stat(below)
        content = b""
        if attributes.is_regular:
            content = await remote.read(below, attributes.version, 0, 1 << 20)
        xattrs = await remote.get_xattrs(below)
        tree[below] = (*seen(attributes), content, dict(xattrs))
        if attributes.is_directory:
            tree |= await snapshot(remote, below)
    return tree


class Comparison(RuleBasedStateMachine):
    """A subclass says in `client` which remote is compared; it may give several clients of one remote in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        LocalPath(self.folder.name).chmod(0o755)
        self.loop = asyncio.Runner()
        self.file = open_file(RemoteSettings(LocalPath(self.folder.name).as_uri()))
        self.model = Memory()

    def client(self) -> Remote:
        return self.file

    def both(self, act: Callable[[Remote], Awaitable[object]]) -> None:
        real = self.loop.run(outcome(act(self.client())))
        assert real == self.loop.run(outcome(act(self.model)))

    @rule(path=PATHS, content=CONTENTS, changes=CHANGES, create=st.booleans(), stale=st.booleans())
    def write(self, path: Path, content: bytes, changes: Changes, create: bool, stale: bool) -> None:
        async def act(remote: Remote) -> object:
            base = None if create or not path else (await remote.stat(path)).version
            if base is not None and stale:
                await remote.set_attributes(path, Changes(mtime_ns=1))
            with source(content) as file:
                return await remote.write(path, file, base, changes, durable=False)

        self.both(act)

    @rule(path=PATHS, changes=CHANGES)
    def mkdir(self, path: Path, changes: Changes) -> None:
        self.both(lambda remote: remote.mkdir(path, changes))

    @rule(path=PATHS, text=st.sampled_from([b"a", b"/etc", b"../a"]))
    def symlink(self, path: Path, text: bytes) -> None:
        self.both(lambda remote: remote.symlink(path, text, Changes()))

    @rule(path=PATHS)
    def fifo(self, path: Path) -> None:
        self.both(lambda remote: remote.mknod(path, stat.S_IFIFO, 0, Changes(mode=0o644)))

    @rule(path=PATHS, other=PATHS)
    def link(self, path: Path, other: Path) -> None:
        self.both(lambda remote: remote.link(path, other))

    @rule(path=PATHS)
    def remove(self, path: Path) -> None:
        self.both(lambda remote: remote.remove(path))

    @rule(path=PATHS)
    def rmdir(self, path: Path) -> None:
        self.both(lambda remote: remote.rmdir(path))

    @rule(path=PATHS, other=PATHS, replace=st.booleans())
    def rename(self, path: Path, other: Path, replace: bool) -> None:
        self.both(lambda remote: remote.rename(path, other, replace=replace))

    @rule(path=PATHS, other=PATHS)
    def exchange(self, path: Path, other: Path) -> None:
        self.both(lambda remote: remote.exchange(path, other))

    @rule(path=PATHS, changes=CHANGES)
    def set_attributes(self, path: Path, changes: Changes) -> None:
        self.both(lambda remote: remote.set_attributes(path, changes))

    @rule(path=PATHS, value=st.one_of(st.none(), st.binary(max_size=9)))
    def set_xattr(self, path: Path, value: bytes | None) -> None:
        self.both(lambda remote: remote.set_xattr(path, b"user.k", value))

    @rule(path=PATHS)
    def readlink(self, path: Path) -> None:
        self.both(lambda remote: remote.readlink(path))

    @invariant()
    def trees_agree(self) -> None:
        """After every operation both remotes hold the same tree."""
        assert self.loop.run(snapshot(self.client())) == self.loop.run(snapshot(self.model))

    def teardown(self) -> None:
        self.loop.run(self.file.close())
        self.loop.close()
        self.folder.cleanup()


SETTINGS = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
Comparison.TestCase.settings = SETTINGS
TestComparison = Comparison.TestCase
