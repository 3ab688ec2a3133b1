"""The cache's disk is full at any step: a call fails as a whole or not at all, and nothing confirmed is lost."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from remotes.memory import Memory
from remotes.plans import Plan

from broker.mirror.eviction import Eviction, Limits

from .drive import WRITE, Drive, Drives, settled, store, tree_of

SIZE = 4 << 20
SEEDS = int(os.environ.get("SEEDS", "12"))
NAMES = [b"a", b"b", b"c", b"d/a", b"d/b"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with little room."""
    point = tmp_path / "disk"
    point.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(point)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=True)


@contextlib.contextmanager
def filled(disk: Path, left: int) -> Iterator[None]:
    """Leave so many bytes of the disk."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        with contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(1, free - left))
    try:
        yield
    finally:
        ballast.unlink()


Files = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a program does to files, and what they are then."""

    what: str
    name: bytes
    other: bytes
    content: bytes
    after: Files


def draw(rng: random.Random, files: Files) -> Step:
    name, other = rng.sample(NAMES, 2)
    content = rng.randbytes(rng.choice((10, 5_000, 200_000)))
    what = (
        rng.choice(("write", "write", "append", "read", "rename", "unlink", "truncate")) if name in files else "write"
    )
    rest = {path: each for path, each in files.items() if path != name}
    old = files.get(name, b"")
    after = {
        "write": rest | {name: content},
        "append": rest | {name: old + content},
        "read": files,
        "rename": rest | {other: old},
        "unlink": rest,
        "truncate": rest | {name: old[:3].ljust(3, b"\0")},
    }
    return Step(what, name, other, content, after[what])


async def perform(drive: Drive, step: Step, files: Files) -> None:
    if step.what == "write":
        await drive.write(step.name, step.content)
    elif step.what == "append":
        await drive.write(step.name, step.content, os.O_WRONLY | os.O_APPEND)
    elif step.what == "truncate":
        await drive.stat(step.name)
        await drive.mirror.truncate(step.name, lambda real: os.truncate(real, 3) or 0)
    elif step.what == "rename":
        await drive.rename(step.name, step.other)
    elif step.what == "unlink":
        await drive.unlink(step.name)
    else:
        status = await drive.stat(step.name)
        assert status is not None and status.st_size == len(files[step.name])
        assert await drive.read(step.name) == files[step.name]


def fits(found: Files, step: Step, files: Files) -> bool:
    """Whether the files may be these when the step has failed: as before, as after, or the content not all there."""
    if found in (files, step.after):
        return True
    rest = {path: each for path, each in found.items() if path != step.name}
    wanted = {path: each for path, each in files.items() if path != step.name}
    return step.what in ("write", "append") and rest == wanted and step.after[step.name].startswith(found[step.name])


async def there(drive: Drive) -> Files:
    return {name: await drive.read(name) for name in NAMES if await drive.stat(name) is not None}


@contextlib.asynccontextmanager
async def session(disk: Path, drives: Drives) -> AsyncIterator[Drive]:
    eviction = Eviction(str(disk), Limits(SIZE, 0))
    async with drives(room=eviction, ttl=0) as drive:
        eviction.add(drives.directory, drive.mirror.store)
        try:
            yield drive
        finally:
            await eviction.close()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_full_at_random_steps(disk: Path, memory: Memory, plan: Plan, seed: int) -> None:
    """After a failure the file is as it was or as it was to be, or holds the beginning of it; all else is untouched;
    the next sessions push what is left, and then mirror and remote are the same."""
    rng = random.Random(seed)
    drives = Drives(str(disk / "mirrors/one"), memory, plan)
    await store(memory, b"d/b", b"there")
    files, failures = {b"d/b": b"there"}, 0
    for _ in range(3):
        async with session(disk, drives) as drive:
            await drive.recover()
            for _ in range(30):
                step = draw(rng, files)
                try:
                    with filled(disk, rng.choice((0, 0, 4096, 50_000, 1 << 20))):
                        await perform(drive, step, files)
                    files = step.after
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error
                    failures += 1
                    await settled(drive)
                    found = await there(drive)
                    assert fits(found, step, files), f"{step.what} of {step.name!r} to {step.other!r}: {error}"
                    files = found
            assert await drive.flush() == []
            assert await there(drive) == files
        assert {path: content for path, (_, content) in tree_of(memory).items() if path != b"d"} == files
    assert failures > 3


async def test_full_to_the_last_byte(disk: Path, memory: Memory, plan: Plan) -> None:
    """What is in the cache can be read; what is not takes the place of it, although to say so needs room itself."""
    drives = Drives(str(disk / "mirrors/one"), memory, plan)
    contents = {b"%d" % number: os.urandom(300_000) for number in range(20)}
    for name, content in contents.items():
        await store(memory, name, content)
    async with session(disk, drives) as drive:
        assert await drive.read(b"0") == contents[b"0"]
        await drive.mirror.listing(b"")
        with filled(disk, 350_000):
            for name, content in contents.items():
                assert await drive.read(name) == content
        with filled(disk, 0):
            assert await drive.read(b"19") == contents[b"19"]


async def test_a_full_disk_at_the_start(disk: Path, memory: Memory, plan: Plan) -> None:
    """A session that cannot begin says so, and leaves nothing wrong."""
    drives = Drives(str(disk / "mirrors/one"), memory, plan)
    await store(memory, b"a", b"1")
    with filled(disk, 0), pytest.raises(Exception) as raised:
        async with session(disk, drives):
            pass
    assert getattr(raised.value, "errno", errno.ENOSPC) == errno.ENOSPC
    async with session(disk, drives) as drive:
        assert await drive.read(b"a") == b"1"
        file = await drive.open(b"a", WRITE)
        os.close(file)
