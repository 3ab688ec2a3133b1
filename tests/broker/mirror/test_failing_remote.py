"""What a remote's failures leave behind: nothing half-made, nothing forgotten, and the user told once."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any

import pytest
from remotes.memory import ALL, Memory
from remotes.plans import Moment, Plan

from broker.mirror import retries
from broker.remotes.protocol import Attributes, NoSpace, Unavailable

from .drive import WRITE, Drives, calling, content_of, settled, store, tree_of


async def test_a_failure_is_told_once(drives: Drives, memory: Memory, plan: Plan) -> None:
    """However often it is tried; and again when it had worked in between."""
    async with drives() as drive:
        for _ in range(2):
            file = await drive.open(b"f", WRITE)
            os.write(file, os.urandom(10))
            plan.disconnect()
            with pytest.raises(Unavailable):
                await drive.close(file)
            await settled(drive)
            for _ in range(3):
                assert await drive.flush() == [b"f"]
            plan.connect()
            assert await drive.flush() == []
        assert [line.partition(":")[0] for line in drive.said] == ["f is not pushed yet"] * 2


async def test_a_flush_tries_once(drives: Drives, plan: Plan) -> None:
    """A remote that takes a minute to fail is asked once for each file, not once for each who wants to know."""
    async with drives() as drive:
        files = [await drive.open(name, WRITE) for name in (b"a", b"b")]
        for file in files:
            os.write(file, b"content")
            os.close(file)
        before = plan.count("write")
        plan.disconnect()
        assert sorted(await drive.flush()) == [b"a", b"b"]
        assert plan.count("write") == before + 2
        plan.connect()


async def test_what_failed_is_tried_again(drives: Drives, memory: Memory, plan: Plan, monkeypatch: Any) -> None:
    """By itself, once the remote is back: nobody need close anything."""
    monkeypatch.setattr(retries, "_PAUSE_FIRST", 0.01)
    async with drives() as drive:
        file = await drive.open(b"f", WRITE)
        os.write(file, b"1")
        plan.fail("write", times=3)
        with pytest.raises(Unavailable):
            await drive.close(file)
        for _ in range(2000):
            if not await drive.dirty():
                break
            await asyncio.sleep(0.01)
        assert content_of(memory, b"f") == b"1"


async def test_back_and_forth_during_a_push(drives: Drives, memory: Memory, plan: Plan) -> None:
    """A content that is changed, pushed so, and changed back is pushed again: that it is as it was says nothing."""
    await store(memory, b"f", b"old")
    async with drives() as drive:
        file = await drive.open(b"f", os.O_WRONLY)
        os.pwrite(file, b"one", 0)
        held = plan.hold("write")
        pushing = asyncio.ensure_future(drive.pushed(file, durable=False))
        await held.reached
        os.pwrite(file, b"two", 0)
        held.open()
        await pushing
        assert content_of(memory, b"f") == b"two"
        os.pwrite(file, b"one", 0)
        await drive.close(file)
        await settled(drive)
        assert content_of(memory, b"f") == b"one"
        assert await drive.dirty() == set()


async def test_back_and_forth_within_a_push(drives: Drives) -> None:
    """As above, but it is as it was before the push has returned: only its times tell."""

    class Hasty(Memory):
        """Reads the source while it is something else."""

        async def write(self, path: bytes, source: int, base: Any, changes: Any, **others: Any) -> Attributes:
            if self.meddling is not None:
                meddling, self.meddling = self.meddling, None
                os.pwrite(meddling, b"two", 0)
                made = await super().write(path, source, base, changes, **others)
                os.pwrite(meddling, b"one", 0)
                return made
            return await super().write(path, source, base, changes, **others)

        meddling: int | None = None

    memory = Hasty(ALL)
    await store(memory, b"f", b"old")
    async with drives(remote=memory) as drive:
        file = await drive.open(b"f", os.O_WRONLY)
        os.pwrite(file, b"one", 0)
        memory.meddling = file
        await drive.pushed(file, durable=False)
        assert content_of(memory, b"f") == b"two"
        os.close(file)
        await settled(drive)
        assert content_of(memory, b"f") == b"one"


@pytest.mark.parametrize("again", [b"the same", b"more than the first time"])
async def test_an_answer_that_came_too_late(drives: Drives, memory: Memory, plan: Plan, again: bytes) -> None:
    """A push that was given up but is made nevertheless is ours: what is written after it is no conflict."""
    await store(memory, b"f", b"old")
    async with drives() as drive:
        file = await drive.open(b"f", os.O_WRONLY | os.O_TRUNC)
        os.write(file, b"the same")
        plan.fail("write", moment=Moment.AFTER)
        with pytest.raises(Unavailable):
            await drive.pushed(file, durable=False)
        os.pwrite(file, again, 0)
        await drive.close(file)
        await settled(drive)
        assert tree_of(memory).keys() == {b"f"} and content_of(memory, b"f") == again
        assert await drive.dirty() == set()


async def test_fsync_of_a_descriptor_from_elsewhere(drives: Drives, memory: Memory) -> None:
    """One that another session has opened, and that came over a socket, pushes as well; and it is kept after."""
    async with drives() as drive, drives() as other:
        file = await drive.open(b"f", WRITE)
        os.write(file, b"1")
        await other.pushed(file, durable=True)
        assert content_of(memory, b"f") == b"1"
        os.write(file, b"2")
        await drive.close(file)
        await settled(drive)
        await settled(other)
        assert content_of(memory, b"f") == b"12"
        assert await drive.dirty() == set()
        assert await drive.flush() == await other.flush() == []


async def test_a_truncation_is_kept(drives: Drives, memory: Memory, plan: Plan) -> None:
    """truncate(2) whose push fails is EIO; the shorter content stays here, and is pushed as soon as it can be."""
    await store(memory, b"f", b"long content")
    async with drives() as drive:
        plan.fail("write", times=2)
        with pytest.raises(Unavailable):
            await drive.mirror.truncate(b"f", calling(os.truncate, 4))
        assert content_of(memory, b"f") == b"long content"
        assert await drive.read(b"f") == b"long"
        assert await drive.flush() == [b"f"]
        assert await drive.flush() == []
        assert content_of(memory, b"f") == b"long"


async def test_a_truncation_is_tried_again(
    drives: Drives, memory: Memory, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself: no descriptor of it is open whose close would do it."""
    monkeypatch.setattr(retries, "_PAUSE_FIRST", 0.01)
    await store(memory, b"f", b"long content")
    async with drives() as drive:
        plan.fail("write", times=3)
        with pytest.raises(Unavailable):
            await drive.mirror.truncate(b"f", calling(os.truncate, 4))
        for _ in range(2000):
            if not await drive.dirty():
                break
            await asyncio.sleep(0.01)
        assert content_of(memory, b"f") == b"long"


@pytest.mark.parametrize("make", ["create", "mkdir", "symlink"])
async def test_a_full_cache_leaves_nothing_on_the_remote(
    drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch, make: str
) -> None:
    """The remote has made it, but the ledger cannot take it: ENOSPC, and it is gone again in both places."""
    async with drives() as drive:
        await drive.names()

        async def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch, pytest.raises(OSError) as caught:
            patch.setattr(drive.mirror._ledger, "put", full)
            if make == "create":
                await drive.open(b"new", WRITE)
            elif make == "mkdir":
                await drive.mkdir(b"new")
            else:
                await drive.symlink(b"new", b"x")
        assert caught.value.errno == errno.ENOSPC
        assert tree_of(memory) == {} and os.listdir(drive.mirror.tree.root) == []
        await drive.write(b"new", b"1")
        assert content_of(memory, b"new") == b"1"


async def test_no_watch_left(drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was made but cannot be watched is taken back."""
    async with drives() as drive:

        def refuse(*_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(drive.mirror.writeback._closings, "watch", refuse)
        with pytest.raises(OSError):
            await drive.open(b"new", WRITE)
        assert tree_of(memory) == {} and os.listdir(drive.mirror.tree.root) == []


async def test_somebody_elses_is_not_taken_back(
    drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our failure and our looking, another host has put a content into the file."""
    async with drives() as drive:

        async def full(*_: object) -> None:
            await store(memory, b"new", b"theirs")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(drive.mirror._ledger, "put", full)
        with pytest.raises(OSError):
            await drive.open(b"new", WRITE)
        assert content_of(memory, b"new") == b"theirs"


async def test_a_failed_setxattr(drives: Drives, memory: Memory, plan: Plan) -> None:
    """It is taken back, as it was before."""
    await store(memory, b"f", b"")
    await memory.set_xattr(b"f", b"user.a", b"old")
    async with drives() as drive:
        for value in (b"new", None):
            plan.fail("set_xattr", NoSpace)
            real = drive.mirror.tree.real(b"f")
            act = calling(os.removexattr, b"user.a") if value is None else calling(os.setxattr, b"user.a", value)
            with pytest.raises(NoSpace):
                await drive.mirror.set_xattr(b"f", b"user.a", value, act)
            assert os.getxattr(real, b"user.a") == b"old"


async def test_attributes_meet_a_new_content(drives: Drives, memory: Memory) -> None:
    """Only the time of a file was changed here, and its content there: that is there afterwards, and shown."""
    await store(memory, b"f", b"old")
    async with drives() as drive:
        file = await drive.open(b"f", os.O_WRONLY)
        await store(memory, b"f", b"new")
        os.utime(file, ns=(5, 5))
        await drive.close(file)
        await settled(drive)
        assert await drive.dirty() == set()
        assert await drive.read(b"f") == b"new"
        assert content_of(memory, b"f") == b"new" and tree_of(memory).keys() == {b"f"}


async def test_attributes_of_what_is_gone(drives: Drives, memory: Memory) -> None:
    """Only the time of a file was changed here, and it was removed there: it is gone."""
    await store(memory, b"f", b"old")
    async with drives() as drive:
        file = await drive.open(b"f", os.O_WRONLY)
        await memory.remove(b"f")
        os.utime(file, ns=(5, 5))
        await drive.close(file)
        await settled(drive)
        assert await drive.dirty() == set()
        assert await drive.stat(b"f") is None


async def test_a_folder_that_was_removed_with_what_was_in_it(drives: Drives, memory: Memory) -> None:
    """What was written below it meanwhile is kept as a conflict copy, in a folder that is made anew for it."""
    await store(memory, b"a/b/f", b"old")
    async with drives(ttl=0) as drive:
        file = await drive.open(b"a/b/f", os.O_WRONLY | os.O_TRUNC)
        os.write(file, b"ours")
        await memory.remove(b"a/b/f")
        await memory.rmdir(b"a/b")
        await memory.rmdir(b"a")
        await drive.close(file)
        await settled(drive)
        kept = {path: content for path, (_, content) in tree_of(memory).items() if content}
        ((path, content),) = kept.items()
        assert path.startswith(b"a/b/f.conflict-") and content == b"ours"
        assert len(drive.said) == 1 and "kept beside it" in drive.said[0]
        assert await drive.read(path) == b"ours" and await drive.dirty() == set()


async def test_a_remote_that_was_made_anew(drives: Drives) -> None:
    """All of it was removed and put there again: nothing of it is what a pending push was based on, so that both
    contents are there afterwards."""
    before, after = Memory(), Memory()
    await store(before, b"f", b"old")
    async with drives(remote=before) as drive:
        file = await drive.open(b"f", os.O_WRONLY | os.O_TRUNC)
        os.write(file, b"ours")
        os.close(file)
    await store(after, b"other", b"")
    await store(after, b"f", b"restored")
    async with drives(remote=after) as drive:
        assert await drive.recover() == []
        contents = {content for _, content in tree_of(after).values()}
        assert contents == {b"", b"restored", b"ours"}
        assert "f was changed on the remote" in drive.said[0]
