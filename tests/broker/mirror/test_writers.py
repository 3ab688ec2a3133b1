"""Several writers of one file: what one of them has closed is pushed, and what another is about to write is not."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

import pytest
from remotes.memory import Memory

from .drive import WRITE, Drive, Drives, content_of, settled, store


@pytest.mark.parametrize("same_session", [True, False])
async def test_a_file_in_the_making_is_not_pushed(drives: Drives, memory: Memory, same_session: bool) -> None:
    """The late word of a close finds the file emptied for the next write: nobody elsewhere sees it empty."""
    async with drives() as first, drives() as second:
        await first.write(b"f", b"old")
        writer = first if same_session else second
        file = await writer.open(b"f", WRITE)
        await settled(first)
        assert content_of(memory, b"f") == b"old"
        os.write(file, b"new")
        await writer.close(file)
        assert content_of(memory, b"f") == b"new"
        for drive in (first, second):
            await settled(drive)
        assert await first.dirty() == set()


async def test_the_end_does_not_wait_for_a_writer(drives: Drives, memory: Memory) -> None:
    """When the program has ended, what a daemon has written so far is pushed although it goes on."""
    async with drives() as drive:
        file = await drive.open(b"log", WRITE)
        os.write(file, b"so far")
        assert await drive.flush() == []
        assert content_of(memory, b"log") == b"so far"
        os.write(file, b" and on")
        await drive.close(file)
        await settled(drive)
        assert content_of(memory, b"log") == b"so far and on"


async def test_a_new_session_leaves_others_files_alone(drives: Drives, memory: Memory) -> None:
    """What another session is writing is dirty on record, but not what a crash has left: neither the start of a
    session nor its end pushes half of it."""
    async with drives() as first:
        file = await first.open(b"f", WRITE)
        os.write(file, b"half")
        async with drives() as second:
            assert await second.recover() == []
            assert await second.flush() == []
        assert content_of(memory, b"f") == b""
        os.write(file, b" and half")
        await first.close(file)
        assert content_of(memory, b"f") == b"half and half"


async def _truncate(drive: Drive, act: Callable[[bytes], int]) -> None:
    await drive.mirror.truncate(b"f", act)


async def _open_emptied(drive: Drive, act: Callable[[bytes], int]) -> None:
    await drive.read(b"f")
    real_truncate = os.truncate

    def truncate(real: bytes, size: int) -> None:
        os.truncate = real_truncate
        act(real)

    os.truncate = truncate  # type: ignore[assignment]
    try:
        os.close(await drive.open(b"f", os.O_RDONLY | os.O_TRUNC))
    finally:
        os.truncate = real_truncate


@pytest.mark.parametrize("change", [_truncate, _open_emptied])
async def test_a_change_without_a_writer_is_not_overlooked(
    drives: Drives, memory: Memory, change: Callable[[Drive, Callable[[bytes], int]], asyncio.Future[None]]
) -> None:
    """Another session that finds the file dirty, and nobody writing to it, just before it is made shorter."""
    await store(memory, b"f", b"content")

    async def elsewhere() -> None:
        async with drives() as other:
            await other.recover()

    another = threading.Thread(target=lambda: asyncio.run(elsewhere()))

    def act(real: bytes) -> int:
        another.start()
        another.join(0.5)
        os.truncate(real, 0)
        return 0

    async with drives() as drive:
        await change(drive, act)
        await asyncio.to_thread(another.join)
        await settled(drive)
        assert content_of(memory, b"f") == b""
        assert await drive.dirty() == set()


async def test_what_another_session_has_just_written_is_not_left_behind(
    drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dirty, and no longer open, for the moment before the other one takes it off the list."""
    async with drives() as drive, drives() as other:
        ours = await drive.open(b"f", WRITE)
        theirs = await other.open(b"f", os.O_WRONLY)
        settle, again = drive.mirror.writeback._settle_quietly, True

        async def settle_and_meet(ino: int, *, unfinished: bool = False) -> None:
            nonlocal again
            await settle(ino, unfinished=unfinished)
            if again and unfinished:
                again = False
                os.write(theirs, b"theirs")
                os.close(theirs)

        monkeypatch.setattr(drive.mirror.writeback, "_settle_quietly", settle_and_meet)
        os.close(ours)
        assert await drive.flush() == []
        assert content_of(memory, b"f") == b"theirs"
        assert await drive.dirty() == set()
