"""open(2) with O_CREAT of a name that the mirror has not looked for, and what it takes back."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from remotes.memory import Memory
from remotes.plans import Plan

from broker.mirror.opening import unlink_untouched

from .drive import ROOT, WRITE, Drive, Drives, calling, exchanging, opening, settled, store, tree_of

NEW = WRITE | os.O_EXCL


def _refuse(real: bytes, flags: int) -> int:
    raise PermissionError("the folder may not be written to")


async def test_the_remote_is_not_asked_before(drives: Drives, memory: Memory, plan: Plan) -> None:
    """Making it says whether it is there."""
    await store(memory, b"there", b"1")
    async with drives() as drive:
        asked = plan.count("stat")
        os.close(await drive.mirror.open(b"new", NEW, opening()))
        with pytest.raises(FileExistsError):
            await drive.mirror.open(b"there", NEW, opening())
        assert plan.count("stat") == asked
        assert await drive.read(b"there") == b"1"


async def test_a_name_is_validated_once_for_each_call(drives: Drives, memory: Memory, plan: Plan) -> None:
    """By an open itself, or on the way to it since its call was made; what was asked before does not count."""
    await store(memory, b"f", b"1")
    async with drives(ttl=0) as drive:
        for since, questions in ((None, 2), (time.monotonic(), 1)):
            asked = plan.count("stat", path=b"f")
            assert await drive.mirror.look(b"f")
            os.close(await drive.mirror.open(b"f", os.O_RDONLY, opening(), since=since))
            assert plan.count("stat", path=b"f") - asked == questions


async def test_that_it_is_there_comes_first(drives: Drives, memory: Memory) -> None:
    """EEXIST rather than EACCES or EROFS, which are for names that are not there."""
    await store(memory, b"there", b"1")
    await store(memory, b"there too", b"1")
    async with drives() as drive:
        with pytest.raises(PermissionError):
            await drive.mirror.open(b"new", NEW, _refuse)
        with pytest.raises(FileExistsError):
            await drive.mirror.open(b"there", NEW, _refuse)
    async with drives(read_only=True) as drive:
        with pytest.raises(OSError, match="Read-only"):
            await drive.mirror.open(b"new", NEW, opening())
        with pytest.raises(FileExistsError):
            await drive.mirror.open(b"there too", NEW, opening())


async def test_what_is_taken_back_is_our_own(drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file that cannot be watched goes again; not one that another session has put in its place meanwhile."""
    async with drives() as drive, drives() as another:
        replace = False

        async def hold(file: int, writer: object) -> None:
            if replace:
                await another.unlink(b"f")
                await another.write(b"f", b"theirs")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(drive.mirror.writeback, "hold", hold)
        for replace in (False, True):
            with pytest.raises(OSError, match="No space"):
                await drive.open(b"f", NEW)
            assert {path: content for path, (_, content) in tree_of(memory).items()} == (
                {b"f": b"theirs"} if replace else {}
            )


async def waiting_for(drive: Drive, path: bytes) -> None:
    """Until somebody waits for the lock of the node, which another has."""
    ino = os.lstat(drive.mirror.tree.real(path)).st_ino
    for _ in range(2000):
        if drive.mirror._locks._inside[ino][1] > 1:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


BESIDE: dict[str, tuple[Callable[[Drive], Awaitable[object]], dict[bytes, bytes]]] = {
    "unlink": (lambda drive: drive.unlink(b"f"), {b"g": b"ggg"}),
    "rename": (lambda drive: drive.rename(b"g", b"f"), {b"f": b"gg"}),
    "exchange": (
        lambda drive: drive.mirror.rename(b"f", b"g", exchanging, replace=True, exchange=True),
        {b"f": b"gg", b"g": b"fff"},
    ),
}
"""What happens to the name of a file that is cut to two bytes, and what is on the remote then."""


@pytest.mark.parametrize("beside", BESIDE)
async def test_truncate_beside_a_change_of_its_name(drives: Drives, memory: Memory, plan: Plan, beside: str) -> None:
    """What it cuts off is the content of the file that has the name, of no other; without one it is ENOENT."""
    for name in (b"f", b"g"):
        await store(memory, name, name * 3)
    change, left = BESIDE[beside]
    async with drives() as drive:
        await drive.names()
        gate = plan.hold("read", path=b"f")
        truncating = asyncio.ensure_future(drive.mirror.truncate(b"f", calling(os.truncate, 2)))
        await gate.reached
        changing = asyncio.ensure_future(change(drive))
        await waiting_for(drive, b"f")
        gate.open()
        with contextlib.suppress(FileNotFoundError):
            assert await truncating == 0
        await changing
        await settled(drive)
        assert {path: content for path, (_, content) in tree_of(memory).items()} == left
        assert await drive.dirty() == set()


def test_only_our_own_empty_file_is_removed(tmp_path: Path) -> None:
    """Not one that another process has put in its place, nor one that somebody has written to."""
    path = tmp_path / "made"
    path.touch()
    ours = path.stat().st_ino
    path.write_text("written by another")
    with pytest.raises(FileExistsError):
        unlink_untouched(os.fsencode(path), ours)
    (tmp_path / "other").touch()
    os.rename(tmp_path / "other", path)
    with pytest.raises(FileExistsError):
        unlink_untouched(os.fsencode(path), ours)
    unlink_untouched(os.fsencode(path), path.stat().st_ino)
    assert not path.exists()


async def test_only_regular_files_are_truncated(drives: Drives, memory: Memory) -> None:
    """The kernel refuses others, and nothing of them is ever pushed."""
    await store(memory, b"folder/f", b"1")
    async with drives() as drive:
        await drive.mirror.mknod(b"fifo", calling(os.mkfifo))
        await drive.stat(b"folder")
        for path, refused in ((b"fifo", errno.EINVAL), (b"folder", errno.EISDIR)):
            with pytest.raises(OSError) as error:
                await drive.mirror.truncate(path, calling(os.truncate, 0), ROOT)
            assert error.value.errno == refused
        assert await drive.dirty() == set()
