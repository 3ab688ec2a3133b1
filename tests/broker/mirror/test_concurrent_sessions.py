"""Two calls at once, in one session or two on one mirror, do what they do one after the other in a plain folder."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from remotes.memory import Memory
from remotes.plans import Moment

from broker.errors import errno_of
from broker.remotes.paths import Path
from broker.remotes.protocol import RemoteError

from .drive import WRITE, Drive, Drives, tree_of
from .test_mirror_machine import plain_tree

PATHS = st.sampled_from([b"a", b"b", b"d", b"d/a", b"d/b", b"e", b"e/a"])
EXAMPLES = int(os.environ.get("SECCOMP_DRIVE_EXAMPLES", "60"))
CONTENTS = st.sampled_from([b"1", b"2", b"3"])
"""Of one length: of two who write at once into a plain file, each leaves what the other has not written over."""


Outcome = tuple[list[int], object]
"""The errnos of the first call and of the second, and the tree afterwards."""


@dataclass(slots=True)
class Delays:
    """As a plan of a remote: every call is held up for the next number of turns of the loop, before and after."""

    turns: list[int]
    _next: int = 0

    @asynccontextmanager
    async def passing(self, operation: str, path: Path) -> AsyncIterator[Delays]:
        await self.reach(Moment.BEFORE)
        yield self

    async def reach(self, moment: Moment) -> None:
        self._next += 1
        for _ in range(self.turns[self._next % len(self.turns)]):
            await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Call:
    """What a program does, on a drive and below a plain folder."""

    name: str
    paths: tuple[bytes, ...]
    content: bytes = b""

    async def mirrored(self, drive: Drive) -> None:
        work: dict[str, Callable[[], Awaitable[object]]] = {
            "write": lambda: drive.write(self.paths[0], self.content),
            "make": lambda: drive.write(self.paths[0], self.content, WRITE | os.O_EXCL),
            "append": lambda: drive.write(self.paths[0], self.content, os.O_WRONLY | os.O_APPEND),
            "unlink": lambda: drive.unlink(self.paths[0]),
            "mkdir": lambda: drive.mkdir(self.paths[0]),
            "rmdir": lambda: drive.rmdir(self.paths[0]),
            "rename": lambda: drive.rename(*self.paths),
            "link": lambda: self._link(drive),
            "chmod": lambda: drive.chmod(self.paths[0], 0o600),
            "list": lambda: self._list(drive),
        }
        await work[self.name]()

    async def _link(self, drive: Drive) -> None:
        """The kernel looks at the old name first, whatever is wrong with the new one."""
        if await drive.stat(self.paths[0]) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        await drive.link(*self.paths)

    async def _list(self, drive: Drive) -> None:
        """What is seen in the middle of a change is nobody's business."""
        try:
            await drive.names(self.paths[0])
        except (OSError, RemoteError):
            return

    def plainly(self, root: bytes) -> None:
        paths = [root + b"/" + path for path in self.paths]
        flags = {"write": WRITE, "make": WRITE | os.O_EXCL, "append": os.O_WRONLY | os.O_APPEND}
        if self.name in flags:
            file = os.open(paths[0], flags[self.name], 0o644)
            os.write(file, self.content)
            os.close(file)
        elif self.name == "mkdir":
            os.mkdir(paths[0], 0o755)
        elif self.name == "chmod":
            os.chmod(paths[0], 0o600)
        elif self.name != "list":
            getattr(os, self.name)(*paths)


ONE = st.builds(
    lambda name, path, content: Call(name, (path,), content),
    st.sampled_from(["write", "make", "append", "unlink", "mkdir", "rmdir", "list"]),
    PATHS,
    CONTENTS,
)
TWO = st.builds(
    lambda name, old, new: Call(name, (old, new)), st.sampled_from(["rename", "rename", "link"]), PATHS, PATHS
)
CHMOD = st.builds(lambda path: Call("chmod", (path,)), PATHS)
CALLS = st.one_of(ONE, ONE, TWO, TWO, CHMOD)
ROUNDS = st.lists(st.tuples(CALLS, CALLS, st.booleans()), min_size=1, max_size=8)


@dataclass(slots=True)
class Plain:
    """The plain folder, and what would come of two calls in it in either order."""

    root: bytes
    count: int = field(default=0)

    def orders(self, first: Call, second: Call) -> dict[bytes, Outcome]:
        """For each order a copy of the folder, with the errnos of the first and the second and the tree."""
        found: dict[bytes, Outcome] = {}
        for order in ((0, 1), (1, 0)):
            self.count += 1
            copy = self.root + b"-%d" % self.count
            shutil.copytree(self.root, copy, symlinks=True, copy_function=_linking(self.root, copy))
            errnos = [0, 0]
            for index in order:
                errnos[index] = _errno_plainly((first, second)[index], copy)
            found[copy] = errnos, plain_tree(copy)
        return found


def _linking(root: bytes, copy: bytes) -> Callable[[str, str], str]:
    """A copy function that keeps hard links."""
    made: dict[int, str] = {}

    def work(source: str, target: str) -> str:
        ino = os.stat(source).st_ino
        if ino in made:
            os.link(made[ino], target)
        else:
            made[ino] = shutil.copy2(source, target)
        return target

    return work


def _errno_plainly(call: Call, root: bytes) -> int:
    try:
        call.plainly(root)
    except OSError as error:
        return error.errno or 0
    return 0


async def _errno(call: Call, drive: Drive) -> int:
    try:
        await call.mirrored(drive)
    except (OSError, RemoteError) as error:
        return errno_of(error)
    return 0


@given(rounds=ROUNDS, turns=st.lists(st.integers(0, 12), min_size=1, max_size=16))
@settings(
    max_examples=int(os.environ.get("SECCOMP_DRIVE_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_two_at_once(rounds: list[tuple[Call, Call, bool]], turns: list[int]) -> None:
    """Errnos and the remote's tree are those of one order or the other; both sessions agree with it in the end."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_two_at_once(folder, rounds, turns))


async def _two_at_once(folder: str, rounds: list[tuple[Call, Call, bool]], turns: list[int]) -> None:
    memory = Memory()
    plain = Plain(os.fsencode(folder) + b"/plain")
    os.mkdir(plain.root)
    mirror = os.path.join(folder, "mirror")
    drives = Drives(mirror, memory, Delays(turns))
    async with drives(ttl=0) as one, drives(ttl=0) as other:
        for first, second, apart in rounds:
            errnos = await asyncio.wait_for(
                asyncio.gather(_errno(first, one), _errno(second, other if apart else one)), 20
            )
            for drive in (one, other):
                assert await drive.flush() == []
            orders = plain.orders(first, second)
            seen = list(errnos), tree_of(memory)
            assert seen in orders.values(), _told(first, second, seen, orders)
            plain.root = next(copy for copy, expected in orders.items() if expected == seen)
        for drive in (one, other):
            assert await drive.dirty() == set()
            assert drive.said == []
            await _same_in_the_mirror(drive, plain.root)
        assert not os.listdir(os.path.join(mirror, "staging"))


async def _same_in_the_mirror(drive: Drive, root: bytes) -> None:
    expected = plain_tree(root)
    folders = [b"", *(path for path in expected if os.path.isdir(root + b"/" + path))]
    for path in folders:
        assert await drive.names(path) == set(os.listdir(root + b"/" + path))
    for path, (_, content) in expected.items():
        if path not in folders:
            assert await drive.read(path) == content


def _told(first: Call, second: Call, seen: Outcome, orders: dict[bytes, Outcome]) -> str:
    def shown(outcome: Outcome) -> str:
        return f"{[errno.errorcode.get(number) for number in outcome[0]]} {outcome[1]}"

    either = " or ".join(map(shown, orders.values()))
    return f"{first} beside {second} gave {shown(seen)} instead of {either}"
