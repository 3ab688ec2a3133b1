"""Random operations on a mirror and on a plain directory give the same errnos and, at the end, the same tree."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from remotes.memory import Memory
from remotes.plans import Plan

from broker.errors import errno_of
from broker.remotes.protocol import RemoteError, Unavailable

from .drive import FOREVER, WRITE, Drive, Drives, tree_of

NAMES = st.sampled_from([b"a", b"b", b"c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
CONTENTS = st.sampled_from(["", "x", "longer", "zeros"])
OPENINGS = st.sampled_from(
    [os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_APPEND, WRITE, os.O_RDONLY | os.O_CREAT, os.O_RDONLY | os.O_TRUNC]
)


class MirrorAgainstDirectory(RuleBasedStateMachine):
    """Two sessions take turns on the mirror; in between the remote fails, and files stay open."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp(prefix="machine-")
        self.plain = os.fsencode(os.path.join(self.directory, "plain"))
        os.mkdir(self.plain)
        self.memory, self.plan = Memory(), Plan()
        self.runner = asyncio.Runner()
        self.runner.get_loop()
        self.stack = AsyncExitStack()
        drives = Drives(os.path.join(self.directory, "mirror"), self.memory, self.plan)
        self.sessions = [self.run(self.stack.enter_async_context(drives(ttl=ttl))) for ttl in (0, FOREVER)]
        self.files: list[tuple[Drive, int, int]] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(asyncio.wait_for(work, 20))

    def teardown(self) -> None:
        try:
            while self.files:
                self.close(0)
            for drive in self.sessions:
                assert self.run(drive.flush()) == []
            for drive in self.sessions:
                assert self.run(drive.dirty()) == set()
            assert tree_of(self.memory) == plain_tree(self.plain)
        finally:
            for _, file, plain in self.files:
                os.close(file)
                os.close(plain)
            self.run(self.stack.aclose())
            self.runner.close()
            shutil.rmtree(self.directory)

    def both(
        self, number: int, path: bytes, mirrored: Callable[[Drive], Awaitable[None]], plainly: Callable[[], object]
    ) -> None:
        """Do the same twice; the same error or none. To follow symlinks is not the mirror's business."""
        if self.leads_through_symlinks(path):
            return
        drive = self.sessions[number]
        here = self.run(_errno(mirrored(drive)))
        there = _plain_errno(plainly)
        assert here == there, f"{errno.errorcode.get(here)} instead of {errno.errorcode.get(there)}"

    def leads_through_symlinks(self, path: bytes) -> bool:
        return any(os.path.islink(self.at(path[:end])) for end in range(len(path)) if path[end : end + 1] == b"/")

    def at(self, path: bytes) -> bytes:
        return self.plain + b"/" + path

    @rule(number=st.integers(0, 1), path=PATHS, flags=OPENINGS, content=CONTENTS)
    def open(self, number: int, path: bytes, flags: int, content: str) -> None:
        async def mirrored(drive: Drive) -> None:
            file = await drive.open(path, flags)
            try:
                if flags & (os.O_WRONLY | os.O_RDWR):
                    os.write(file, _bytes(content))
            finally:
                await drive.close(file)

        def plainly() -> None:
            file = os.open(self.at(path), flags | os.O_NOFOLLOW, 0o644)
            if flags & (os.O_WRONLY | os.O_RDWR):
                os.write(file, _bytes(content))
            os.close(file)

        if not (flags & os.O_TRUNC and not flags & os.O_CREAT and os.path.isdir(self.at(path))):
            self.both(number, path, mirrored, plainly)

    @rule(number=st.integers(0, 1), path=PATHS)
    def leave_open(self, number: int, path: bytes) -> None:
        if os.path.isfile(self.at(path)) and os.path.realpath(self.at(path)) == self.at(path):
            drive = self.sessions[number]
            file = self.run(drive.open(path, os.O_RDWR))
            self.files.append((drive, file, os.open(self.at(path), os.O_RDWR)))

    @rule(which=st.integers(0, 9), content=CONTENTS)
    def write(self, which: int, content: str) -> None:
        if self.files:
            _, file, plain = self.files[which % len(self.files)]
            assert os.pwrite(file, _bytes(content), 1) == os.pwrite(plain, _bytes(content), 1)

    @rule(which=st.integers(0, 9))
    def close(self, which: int) -> None:
        if self.files:
            drive, file, plain = self.files.pop(which % len(self.files))
            self.run(drive.close(file))
            os.close(plain)

    @rule(number=st.integers(0, 1), path=PATHS)
    def mkdir(self, number: int, path: bytes) -> None:
        self.both(number, path, lambda drive: drive.mkdir(path), lambda: os.mkdir(self.at(path), 0o755))

    @rule(number=st.integers(0, 1), path=PATHS)
    def symlink(self, number: int, path: bytes) -> None:
        self.both(
            number,
            path,
            lambda drive: drive.symlink(path, b"dangling"),
            lambda: os.symlink(b"dangling", self.at(path)),
        )

    @rule(number=st.integers(0, 1), path=PATHS)
    def unlink(self, number: int, path: bytes) -> None:
        self.both(number, path, lambda drive: drive.unlink(path), lambda: os.unlink(self.at(path)))

    @rule(number=st.integers(0, 1), path=PATHS)
    def rmdir(self, number: int, path: bytes) -> None:
        self.both(number, path, lambda drive: drive.rmdir(path), lambda: os.rmdir(self.at(path)))

    @rule(number=st.integers(0, 1), old=PATHS, new=PATHS)
    def rename(self, number: int, old: bytes, new: bytes) -> None:
        if self.leads_through_symlinks(new) or not os.path.lexists(self.at(old)):
            return
        self.both(
            number,
            old,
            lambda drive: drive.rename(old, new),
            lambda: os.rename(self.at(old), self.at(new)),
        )

    @rule(number=st.integers(0, 1), old=PATHS, new=PATHS)
    def link(self, number: int, old: bytes, new: bytes) -> None:
        if os.path.lexists(self.at(old)) and not os.path.isdir(self.at(old)) and not self.leads_through_symlinks(new):
            self.both(
                number,
                old,
                lambda drive: drive.link(old, new),
                lambda: os.link(self.at(old), self.at(new), follow_symlinks=False),
            )

    @rule(number=st.integers(0, 1), path=PATHS, mode=st.sampled_from([0o600, 0o755, 0o4711, 0o2755]))
    def chmod(self, number: int, path: bytes, mode: int) -> None:
        if not os.path.islink(self.at(path)) and not os.path.isdir(self.at(path)):
            self.both(number, path, lambda drive: drive.chmod(path, mode), lambda: os.chmod(self.at(path), mode))

    @rule(number=st.integers(0, 1), path=PATHS)
    def read(self, number: int, path: bytes) -> None:
        if os.path.isfile(self.at(path)):
            content = self.run(self.sessions[number].read(path))
            assert content == Path(os.fsdecode(self.at(path))).read_bytes()

    @rule(number=st.integers(0, 1), path=PATHS)
    def listing(self, number: int, path: bytes) -> None:
        if os.path.isdir(self.at(path)):
            names = self.run(self.sessions[number].names(path))
            assert names == set(os.listdir(self.at(path)))

    @rule(number=st.integers(0, 1), path=PATHS, operation=st.sampled_from(["remove", "rename", "write", "mkdir"]))
    def fail(self, number: int, path: bytes, operation: str) -> None:
        """A call that the remote fails changes nothing."""
        drive = self.sessions[number]
        self.plan.fail(operation, Unavailable, times=1)
        rule = self.plan._rules[-1]
        work: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "remove": lambda: drive.unlink(path),
            "rename": lambda: drive.rename(path, path + b"-moved"),
            "write": lambda: drive.write(path + b"-new", b"", os.O_WRONLY | os.O_CREAT | os.O_EXCL),
            "mkdir": lambda: drive.mkdir(path + b"-folder"),
        }
        try:
            self.run(work[operation]())
        except (OSError, RemoteError):
            return
        finally:
            rule.times = 0
        # The remote was not asked: the kernel, or what is on record, had an answer before.
        raise AssertionError(f"{operation} did not reach the remote")

    @invariant()
    def nothing_is_staged(self) -> None:
        staging = os.path.join(self.directory, "mirror", "staging")
        assert not os.listdir(staging)


def _bytes(content: str) -> bytes:
    """More zeros than a hole needs, or what is said."""
    return b"\0" * 100_000 if content == "zeros" else content.encode()


async def _errno(work: Awaitable[None]) -> int:
    try:
        await work
    except (OSError, RemoteError) as error:
        return errno_of(error)
    return 0


def _plain_errno(work: Callable[[], object]) -> int:
    try:
        work()
    except OSError as error:
        return error.errno or 0
    return 0


def plain_tree(root: bytes) -> dict[bytes, tuple[int, bytes]]:
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = folder + b"/" + name
            status = os.lstat(path)
            content = b""
            if stat.S_ISREG(status.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            mode = stat.S_IFLNK if stat.S_ISLNK(status.st_mode) else status.st_mode
            found[path[len(root) + 1 :]] = mode, content
    return found


MirrorAgainstDirectory.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
TestMirrorAgainstDirectory = MirrorAgainstDirectory.TestCase
