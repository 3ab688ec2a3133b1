"""The mirror as handlers use it: opens of every kind, read-only drives, and two sessions side by side."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from remotes.conftest import ROOT
from remotes.memory import Memory
from remotes.plans import Plan

from broker.remotes.protocol import Changes

from .drive import WRITE, Drive, Drives, calling, content_of, opening, store, tree_of


async def test_opens_give_the_errno_of_linux(drives: Drives, memory: Memory) -> None:
    """For what is missing, there, a folder, a symlink or a device."""
    await store(memory, b"d/f", b"")
    await memory.symlink(b"s", b"d", Changes())
    await memory.mknod(b"null", stat.S_IFCHR, os.makedev(1, 3), Changes(mode=0o666))
    async with drives() as drive:
        for path, flags, number in (
            (b"none", os.O_RDONLY, errno.ENOENT),
            (b"none", os.O_WRONLY | os.O_TRUNC, errno.ENOENT),
            (b"d/f", WRITE | os.O_EXCL, errno.EEXIST),
            (b"d", os.O_WRONLY, errno.EISDIR),
            (b"d", os.O_RDONLY | os.O_CREAT, errno.EISDIR),
            (b"d/f/g", os.O_RDONLY, errno.ENOTDIR),
            (b"s", os.O_RDONLY, errno.ELOOP),
            (b"null", os.O_RDONLY, errno.EACCES),
        ):
            with pytest.raises(OSError) as caught:
                await drive.open(path, flags)
            assert caught.value.errno == number, path


async def test_an_open_folder_has_all_its_names(drives: Drives, memory: Memory) -> None:
    """getdents on its descriptor is the kernel's own."""
    for name in (b"d/a", b"d/b", b"d/e/f"):
        await store(memory, name, b"")
    async with drives() as drive:
        await drive.stat(b"d")
        folder = await drive.open(b"d", os.O_RDONLY | os.O_DIRECTORY)
        assert sorted(os.listdir(folder)) == ["a", "b", "e"]
        os.close(folder)
        root = await drive.open(b"", os.O_RDONLY)
        assert os.listdir(root) == ["d"]
        os.close(root)


async def test_a_fifo_is_opened_as_one(drives: Drives) -> None:
    """The mirror's own, between programs of one machine."""
    async with drives() as drive:
        await drive.mirror.mknod(b"p", calling(os.mkfifo))
        file = await drive.open(b"p", os.O_RDWR)
        assert stat.S_ISFIFO(os.fstat(file).st_mode)
        os.close(file)


REFUSED: dict[str, Callable[[Drive], Awaitable[object]]] = {
    "write": lambda drive: drive.open(b"f", os.O_WRONLY),
    "read and write": lambda drive: drive.open(b"f", os.O_RDWR),
    "truncate by open": lambda drive: drive.open(b"f", os.O_RDONLY | os.O_TRUNC),
    "create": lambda drive: drive.open(b"new", WRITE),
    "create for reading": lambda drive: drive.open(b"new", os.O_RDONLY | os.O_CREAT),
    "mkdir": lambda drive: drive.mkdir(b"new"),
    "mknod": lambda drive: drive.mirror.mknod(b"new", calling(os.mkfifo)),
    "symlink": lambda drive: drive.symlink(b"new", b"x"),
    "link": lambda drive: drive.link(b"f", b"new"),
    "unlink": lambda drive: drive.unlink(b"f"),
    "rmdir": lambda drive: drive.rmdir(b"d"),
    "rename": lambda drive: drive.rename(b"f", b"new"),
    "chmod": lambda drive: drive.chmod(b"f", 0o600),
    "truncate": lambda drive: drive.mirror.truncate(b"f", calling(os.truncate, 0)),
    "setxattr": lambda drive: drive.mirror.set_xattr(b"f", b"user.a", b"", calling(os.setxattr, "user.a", b"")),
}


@pytest.mark.parametrize("change", REFUSED)
async def test_a_read_only_drive_is_erofs(drives: Drives, memory: Memory, plan: Plan, change: str) -> None:
    """Every change is refused before it has touched the mirror or the remote; reading works."""
    await store(memory, b"f", b"content")
    await memory.mkdir(b"d", Changes(mode=0o755))
    before = tree_of(memory)
    async with drives(read_only=True) as drive:
        names = await drive.names()
        with pytest.raises(OSError) as caught:
            await REFUSED[change](drive)
        assert caught.value.errno == errno.EROFS
        assert await drive.read(b"f") == b"content"
        found = await drive.stat(b"f")
        assert found is not None and (found.st_mode, found.st_size) == (stat.S_IFREG | 0o644, 7)
        assert await drive.names() == names == {b"f", b"d"}
    assert tree_of(memory) == before


async def test_sessions_see_each_other_at_once(drives: Drives, memory: Memory) -> None:
    """What one session makes, writes, moves and removes the other has at once, whatever its ttl."""
    async with drives() as drive, drives() as other:
        assert await other.names() == set()
        await drive.mkdir(b"d")
        await drive.write(b"d/f", b"1")
        assert await other.names() == {b"d"}
        assert await other.names(b"d") == {b"f"}
        assert await other.read(b"d/f") == b"1"
        await other.write(b"d/f", b"22")
        assert await drive.read(b"d/f") == b"22"
        await drive.rename(b"d/f", b"d/g")
        assert await other.stat(b"d/f") is None
        assert await other.read(b"d/g") == b"22"
        await other.unlink(b"d/g")
        assert await drive.stat(b"d/g") is None
        assert await drive.names(b"d") == set()
        for each in (drive, other):
            assert await each.flush() == []
            assert await each.dirty() == set()


async def test_sessions_that_make_one_name(drives: Drives, memory: Memory) -> None:
    """Of two exclusive creations in two sessions one succeeds, the other is EEXIST; without O_EXCL both open it."""
    async with drives() as drive, drives() as other:
        for turn in range(10):
            path = b"f%d" % turn
            made = await asyncio.gather(
                *(session.open(path, WRITE | os.O_EXCL) for session in (drive, other)), return_exceptions=True
            )
            assert sum(isinstance(each, FileExistsError) for each in made) == 1
            again = await asyncio.gather(*(session.open(path, os.O_RDWR | os.O_CREAT) for session in (drive, other)))
            for file in (*made, *again):
                if isinstance(file, int):
                    os.close(file)
        for session in (drive, other):
            assert await session.flush() == []


PIPELINE = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests/broker")!r}]
import asyncio, os
from mirror.drive import WRITE, Drives, share
from remotes.plans import Plan
directory, remote, number, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
async def work():
    async with Drives(directory, share(remote), Plan())(ttl=0.05) as drive:
        await drive.names()
        for turn in range(count):
            try:
                await drive.mkdir(b"d%d" % turn)
            except FileExistsError:
                pass
            await drive.write(b"d%d/own-%d" % (turn, number), b"%d" % number * 100)
            file = await drive.open(b"log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, b"%d " % number)
            await drive.close(file)
            await drive.rename(b"d%d/own-%d" % (turn, number), b"d%d/moved-%d" % (turn, number))
            await drive.read(b"d%d/moved-%d" % (turn, number))
            await drive.names(b"d%d" % turn)
            file = await drive.open(b"same", WRITE)
            os.write(file, b"x" * 10)
            await drive.close(file)
        assert await drive.flush() == []
        print(drive.said)
asyncio.run(work())
"""


def test_sessions_in_two_processes_at_once(tmp_path: Path) -> None:
    """Three processes make, append, rename, overwrite and list on one mirror: nothing is lost, nothing in conflict,
    nothing left dirty."""
    share, count, sessions = tmp_path / "share", 8, 3
    share.mkdir()
    arguments = [sys.executable, "-c", PIPELINE, str(tmp_path / "mirror"), str(share)]
    running = [
        subprocess.Popen([*arguments, str(number), str(count)], stdout=subprocess.PIPE, text=True)
        for number in range(sessions)
    ]
    for process in running:
        out, _ = process.communicate(timeout=100)
        assert (process.returncode, out.strip()) == (0, "[]")
    names = {str(path.relative_to(share)) for path in share.rglob("*")}
    assert names == {"log", "same"} | {f"d{turn}" for turn in range(count)} | {
        f"d{turn}/moved-{number}" for turn in range(count) for number in range(sessions)
    }
    for turn in range(count):
        for number in range(sessions):
            assert (share / f"d{turn}/moved-{number}").read_text() == str(number) * 100
    log = (share / "log").read_text().split()
    assert sorted(log) == sorted(str(number) for number in range(sessions) for _ in range(count))
    assert (share / "same").read_text() == "x" * 10


async def test_closing_leaves_no_descriptor(drives: Drives, memory: Memory, tmp_path: Path) -> None:
    """A session that ends, with files held and a fetch failed, has closed all that it opened."""
    await store(memory, b"f", b"1")
    before = len(os.listdir("/proc/self/fd"))
    async with drives() as drive:
        await drive.read(b"f")
        file = await drive.open(b"g", WRITE)
        await drive.names()
        os.close(file)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_require_has_the_content_for_an_exec(drives: Drives, memory: Memory) -> None:
    """Although nobody gets a descriptor; and a file that only its execution is allowed of."""
    await store(memory, b"f", b"#!/bin/sh\n", mode=0o111)
    async with drives() as drive:
        await drive.mirror.require(b"f")
        assert Path(os.fsdecode(drive.mirror.tree.real(b"f"))).read_bytes() == b"#!/bin/sh\n"


async def test_flags_reach_the_kernel(drives: Drives, memory: Memory) -> None:
    """O_APPEND and the like are those of the program's descriptor."""
    await store(memory, b"f", b"1")
    async with drives() as drive:
        file = await drive.mirror.open(b"f", os.O_WRONLY | os.O_APPEND | os.O_CREAT, opening())
        os.write(file, b"2")
        await drive.close(file)
        assert content_of(memory, b"f") == b"12"
        asked: list[int] = []

        def act(real: bytes, flags: int) -> int:
            asked.append(flags)
            return opening()(real, flags)

        os.close(await drive.mirror.open(b"f", os.O_RDONLY | os.O_TRUNC, act))
        assert asked == [os.O_WRONLY, os.O_RDONLY], "whether it may be truncated is the kernel's to judge"


async def test_a_new_file_is_made_without_asking_first(drives: Drives, plan: Plan) -> None:
    """The remote itself refuses a name that it has, and then its file is opened."""
    async with drives() as drive, drives() as other:
        await drive.stat(b"")
        asked = plan.count("stat")
        file = await drive.open(b"new", WRITE)
        os.close(file)
        assert plan.count("stat") == asked
        with pytest.raises(FileExistsError):
            await other.open(b"new", WRITE | os.O_EXCL)
        os.close(await other.open(b"new", os.O_RDWR | os.O_CREAT))
