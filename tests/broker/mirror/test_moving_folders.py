"""What is in a folder is there all the time, also while the folder is made or moved, by whichever session."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest
from remotes.memory import Memory
from remotes.plans import Moment, Plan

from broker.mirror.records import Record
from broker.remotes.protocol import Changes

from .drive import WRITE, Drive, Drives, content_of, settled, store, tree_of


@pytest.mark.parametrize("by_another", [False, True])
async def test_a_name_in_a_folder_that_the_remote_has_not_moved_yet(
    drives: Drives, memory: Memory, plan: Plan, by_another: bool
) -> None:
    """It waits for that, and its node and content stay what they were."""
    await store(memory, b"d/f", b"content")
    async with drives() as drive, drives() as other:
        for session in (drive, other):
            assert await session.read(b"d/f") == b"content"
        before = await drive.stat(b"d/f")
        gate = plan.hold("rename")
        moving = asyncio.ensure_future((other if by_another else drive).rename(b"d", b"e"))
        await gate.reached
        reading = asyncio.ensure_future(drive.read(b"e/f"))
        await asyncio.sleep(0.05)
        gate.open()
        await moving
        assert await reading == b"content"
        after = await drive.stat(b"e/f")
        assert before is not None and after is not None and after.st_ino == before.st_ino
        assert memory.reads == 1


async def make_file(drive: Drive, path: bytes) -> None:
    await drive.write(path, b"content")


async def make_folder(drive: Drive, path: bytes) -> None:
    await drive.mkdir(path)


async def make_symlink(drive: Drive, path: bytes) -> None:
    await drive.symlink(path, b"target")


@pytest.mark.parametrize("make", [make_file, make_folder, make_symlink])
async def test_something_new_in_a_folder_that_another_session_is_making(
    drives: Drives, memory: Memory, plan: Plan, make: Callable[[Drive, bytes], Awaitable[None]]
) -> None:
    """`mkdir -p d && touch d/f`, twice at once: who sees the folder can use it."""
    async with drives() as drive, drives() as other:
        for session in (drive, other):
            await session.names()
        gate = plan.hold("mkdir", path=b"d")
        making = asyncio.ensure_future(other.mkdir(b"d"))
        await gate.reached
        using = asyncio.ensure_future(make(drive, b"d/f"))
        await asyncio.sleep(0.05)
        gate.open()
        await making
        await using
        assert {b"d", b"d/f"} <= set(tree_of(memory))


@pytest.mark.parametrize("moment", [Moment.BEFORE, Moment.AFTER])
async def test_a_new_file_in_a_folder_that_is_moved_meanwhile(
    drives: Drives, memory: Memory, plan: Plan, moment: Moment
) -> None:
    """It is made where the folder is by then, here and on the remote, and what is written arrives there."""
    await memory.mkdir(b"d", Changes(mode=0o755))
    async with drives() as drive, drives() as other:
        for session in (drive, other):
            await session.names(b"d")
        gate = plan.hold("write", path=b"d/f", moment=moment)
        opening = asyncio.ensure_future(drive.open(b"d/f", WRITE))
        await gate.reached
        await other.rename(b"d", b"e")
        gate.open()
        file = await opening
        os.write(file, b"content")
        await drive.close(file)
        assert set(tree_of(memory)) == {b"e", b"e/f"} and content_of(memory, b"e/f") == b"content"
        assert await other.read(b"e/f") == await drive.read(b"e/f") == b"content"


async def test_a_file_that_is_removed_while_it_is_opened_is_made_anew(
    drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """open(2) with O_CREAT has a file in either case."""
    await store(memory, b"f", b"content")
    async with drives() as drive, drives() as other:
        await drive.read(b"f")
        authorize, gone = memory.authorize, False

        async def slow(path: bytes) -> None:
            nonlocal gone
            if not gone:
                gone = True
                await other.unlink(b"f")
            await authorize(path)

        monkeypatch.setattr(memory, "authorize", slow)
        file = await drive.open(b"f", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, b"new")
        await drive.close(file)
        assert gone and content_of(memory, b"f") == b"new"


@pytest.mark.parametrize("content", [b"new", b"old"])
async def test_a_push_from_a_folder_that_the_remote_has_not_moved_yet(
    drives: Drives, memory: Memory, plan: Plan, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """A file was opened just after the rename had looked for such: it is pushed where it is then, and no conflict."""
    await store(memory, b"d/f", b"old")
    async with drives() as drive:
        await drive.read(b"d/f")
        file, dirty = -1, drive.mirror._ledger.dirty

        async def dirty_before_it_is_opened() -> list[Record]:
            nonlocal file
            found = await dirty()
            monkeypatch.setattr(drive.mirror._ledger, "dirty", dirty)
            file = await drive.open(b"d/f", os.O_WRONLY)
            return found

        monkeypatch.setattr(drive.mirror._ledger, "dirty", dirty_before_it_is_opened)
        gate = plan.hold("rename")
        moving = asyncio.ensure_future(drive.rename(b"d", b"e"))
        await gate.reached
        os.write(file, content)
        os.utime(file, ns=(1, 10**18))
        closing = asyncio.ensure_future(drive.close(file))
        await asyncio.sleep(0.05)
        gate.open()
        await moving
        await closing
        await settled(drive)
        node = memory._find(b"e/f")
        assert (node.content, node.mtime_ns) == (content, 10**18)
        assert set(tree_of(memory)) == {b"e", b"e/f"} and drive.said == []
