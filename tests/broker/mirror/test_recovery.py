"""Recovery: what a failed, killed or neighbouring session left dirty goes to the remote later."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from remotes.conftest import ROOT
from remotes.memory import Memory
from remotes.plans import Plan

from broker.mirror import pushing
from broker.mirror.evicting import empty
from broker.mirror.stash import Stash
from broker.remotes.protocol import NoSpace, Unavailable

from .drive import WRITE, Drives, calling, content_of, settled, share, store, tree_of


async def test_a_failed_push_is_the_calls_error_and_loses_nothing(drives: Drives, memory: Memory, plan: Plan) -> None:
    """The content stays dirty, is pending for flush, is still readable here, and goes when the remote can."""
    async with drives(ttl=0) as drive:
        file = await drive.open(b"f", WRITE)
        os.write(file, b"content")
        plan.fail("write", NoSpace)
        with pytest.raises(NoSpace):
            await drive.close(file)
        plan.disconnect()
        assert await drive.flush() == [b"f"]
        assert any("not pushed" in line for line in drive.said)
        plan.connect()
        assert await drive.read(b"f") == b"content"
        assert content_of(memory, b"f") == b""
        assert await drive.flush() == []
        assert content_of(memory, b"f") == b"content"
        assert await drive.dirty() == set()


@pytest.mark.parametrize("replaced", [False, True])
async def test_what_goes_unpushed_is_kept_with_its_path(drives: Drives, plan: Plan, replaced: bool) -> None:
    """Until the remote has heard of an unlink, or a rename over it: a session that finds it after a kill can put it
    back. What another session writes meanwhile into the ledger makes no difference."""
    async with drives() as drive, drives() as other:
        for name in (b"f", b"g"):
            await drive.write(name, b"old")
        file = await drive.open(b"f", WRITE)
        os.write(file, b"new")
        plan.fail("write", NoSpace, path=b"f", times=100)
        with pytest.raises(NoSpace):
            await drive.close(file)
        await settled(drive)
        ino = os.stat(drive.mirror.tree.real(b"f")).st_ino
        gate = plan.hold("rename" if replaced else "remove")
        async with other.mirror._lookup.locked(b"f"):
            going = asyncio.ensure_future(drive.rename(b"g", b"f") if replaced else drive.unlink(b"f"))
            await asyncio.sleep(0.05)
            await other.write(b"h", b"")
            await drive.stat(b"g")
        await gate.reached
        assert [(number, path) for _, number, path in Stash(drive.mirror.tree).left()] == [(ino, b"f")]
        gate.open()
        await going
        assert Stash(drive.mirror.tree).left() == []


async def test_what_was_kept_may_be_gone(drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that begins has listed what another's unlink keeps; when it looks, a new file has the number."""
    async with drives() as drive:
        file = await drive.open(b"f", WRITE)
        ino = os.fstat(file).st_ino
        kept = drive.mirror.tree.staging + b"/kept-%d" % ino
        with monkeypatch.context() as patch:
            patch.setattr(Stash, "left", lambda stash: [(kept, ino, None)])
            async with drives():
                pass
        os.write(file, b"content")
        await drive.close(file)
        assert content_of(memory, b"f") == b"content"


async def test_what_was_kept_may_have_another_name(drives: Drives, memory: Memory) -> None:
    """A session was killed within an unlink; another is writing the file by its other name when a third begins."""
    await store(memory, b"f", b"old")
    await memory.link(b"f", b"g")
    async with drives() as drive:
        await drive.read(b"f")
        await drive.read(b"g")
        real = drive.mirror.tree.real(b"f")
        Stash(drive.mirror.tree).keep(b"f", os.stat(real).st_ino)
        os.unlink(real)
        file = await drive.open(b"g", os.O_WRONLY)
        async with drives():
            assert Stash(drive.mirror.tree).left() == []
        os.write(file, b"new")
        await drive.close(file)
        assert content_of(memory, b"g") == b"new"


async def test_a_push_without_memory_is_tried_again(
    drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a failure as any other: the file stays dirty, the user is told, and the next attempt pushes it."""
    async with drives() as drive:
        file = await drive.open(b"f", WRITE)
        os.write(file, b"content")

        async def without(*arguments: object) -> bytes:
            raise MemoryError

        monkeypatch.setattr(pushing, "digest_of", without)
        with pytest.raises(MemoryError):
            await drive.close(file)
        assert await drive.flush() == [b"f"]
        assert any("not enough memory" in line for line in drive.said)
        monkeypatch.undo()
        assert await drive.flush() == []
        assert content_of(memory, b"f") == b"content"


async def test_recovery_gives_up_on_a_remote_that_is_away(drives: Drives, memory: Memory, plan: Plan) -> None:
    """After some failures the rest is not tried, but named; few files are held. All go when the remote is back."""
    names = sorted(b"%d" % number for number in range(150))
    async with drives() as drive:
        for name in names:
            await drive.write(name, b"")
        await settled(drive)
        for name in names:
            await drive.mirror._ledger.mark_dirty(os.stat(drive.mirror.tree.real(name)).st_ino)
            os.truncate(drive.mirror.tree.real(name), 3)
    async with drives() as drive:
        plan.disconnect()
        assert await drive.recover() == names
        assert len(drive.mirror.writeback.held()) < 100
        plan.connect()
        assert await drive.recover() == []
        assert all(content_of(memory, name) == bytes(3) for name in names)
        assert await drive.dirty() == set()


async def test_flush_pushes_what_is_still_open(drives: Drives, memory: Memory) -> None:
    """A program in the background may write on: what is there is pushed, and it is not pending."""
    async with drives() as drive:
        file = await drive.open(b"f", WRITE)
        os.write(file, b"so far")
        assert await drive.flush() == []
        assert content_of(memory, b"f") == b"so far"
        os.write(file, b", and on")
        await drive.close(file)
        await drive.flush()
        assert content_of(memory, b"f") == b"so far, and on"


async def test_recover_pushes_what_a_failed_session_left(drives: Drives, memory: Memory, plan: Plan) -> None:
    """In a new session on the same mirror, also what was renamed since; then nothing is left."""
    async with drives() as drive:
        await drive.mkdir(b"d")
        for name in (b"a", b"d/b"):
            file = await drive.open(name, WRITE)
            os.write(file, name)
            plan.fail("write", times=100)
            with pytest.raises(Unavailable):
                await drive.close(file)
            await settled(drive)
            plan._rules.clear()
        await drive.rename(b"a", b"d/c")
        plan.disconnect()
        assert sorted(await drive.flush()) == [b"d/b", b"d/c"]
    async with drives() as drive:
        assert sorted(await drive.recover()) == [b"d/b", b"d/c"]
        plan.connect()
        assert await drive.recover() == []
        assert (content_of(memory, b"d/b"), content_of(memory, b"d/c")) == (b"d/b", b"a")
        assert await drive.dirty() == set()


async def left_dirty(drives: Drives, names: list[bytes]) -> None:
    """A session ends, and has pushed nothing of these files."""
    async with drives() as drive:
        for name in names:
            await drive.write(name, b"")
        await settled(drive)
        for name in names:
            await drive.mirror._ledger.mark_dirty(os.stat(drive.mirror.tree.real(name)).st_ino)
            os.truncate(drive.mirror.tree.real(name), 3)


@pytest.mark.parametrize("count", [3, 150], ids=["tried", "not all tried"])
async def test_the_end_names_what_is_there_by_then(drives: Drives, plan: Plan, count: int) -> None:
    """Not what was removed or pushed since its push has failed, and what was renamed by its new name."""
    names = sorted(b"%03d" % number for number in range(count))
    await left_dirty(drives, names)
    async with drives() as drive:
        plan.fail("write", NoSpace, times=10_000)
        drive.mirror.recovery.start()
        assert drive.mirror.recovery._running is not None
        await drive.mirror.recovery._running
        await drive.unlink(names[-1])
        await drive.rename(names[-2], b"renamed")
        assert await drive.mirror.recovery.finish() == [*names[:-2], b"renamed"]
        await drive.unlink(b"renamed")
        assert b"renamed" not in b" ".join(drive.mirror.writeback.unpushed())
        plan._rules.clear()
        assert await drive.recover() == []
        assert await drive.mirror.recovery.finish() == []


async def test_recover_forgets_what_has_no_file(drives: Drives, memory: Memory) -> None:
    """A row of a file that a killed session had unlinked goes, but not while another session may be moving it."""
    async with drives() as drive:
        await drive.write(b"f", b"1")
        await settled(drive)
        ino = os.stat(drive.mirror.tree.real(b"f")).st_ino
        await drive.mirror._ledger.mark_dirty(ino)
        os.unlink(drive.mirror.tree.real(b"f"))
        async with drives() as other:
            assert await other.recover() == []
            assert await other.dirty() == {ino}
        assert await drive.recover() == []
        assert await drive.dirty() == set()


async def test_recover_forgets_what_cannot_be_dirty(drives: Drives) -> None:
    """A FIFO on record as dirty stands in nobody's way."""
    async with drives() as drive:
        await drive.mirror.mknod(b"fifo", calling(os.mkfifo))
        await drive.mirror._ledger.mark_dirty(os.stat(drive.mirror.tree.real(b"fifo")).st_ino)
    async with drives() as drive:
        assert await drive.recover() == []
        assert await drive.dirty() == set()
        assert await drive.mirror.recovery.finish() == []


async def test_a_file_that_is_renamed_during_each_look(drives: Drives, memory: Memory) -> None:
    """It may escape one look, which has its old name from the folder and does not find it, but stays on record."""
    await left_dirty(drives, [b"log"])
    async with drives() as drive:
        tree, loop = drive.mirror.tree, asyncio.get_running_loop()
        names, renames = tree.names, iter([(b"log", b"log.1"), (b"log.1", b"log")])
        renaming = []

        def names_of_before(path: bytes) -> dict[bytes, int]:
            found = names(path)
            if threading.current_thread() is not threading.main_thread() and (next_one := next(renames, None)):
                renaming.append(asyncio.run_coroutine_threadsafe(drive.rename(*next_one), loop))
                with contextlib.suppress(TimeoutError):
                    renaming[-1].result(1)
            return found

        tree.names = names_of_before  # type: ignore[method-assign]
        behind = await drive.recover()
        assert bool(behind) == bool(await drive.dirty())
        await asyncio.gather(*map(asyncio.wrap_future, renaming))
        assert len(renaming) == 2
        assert await drive.recover() == []
        assert content_of(memory, b"log") == bytes(3)
        assert await drive.dirty() == set()


async def test_what_a_killed_removal_kept_waits_for_the_remote(drives: Drives, memory: Memory, plan: Plan) -> None:
    """A session that cannot ask whether it has gone leaves it, and its record, to the next one."""
    await left_dirty(drives, [b"f"])
    async with drives() as drive:
        real = drive.mirror.tree.real(b"f")
        Stash(drive.mirror.tree).keep(b"f", os.stat(real).st_ino, noted=True)
        os.unlink(real)
    plan.disconnect()
    async with drives() as drive:
        assert await drive.recover() == []
    plan.connect()
    async with drives() as drive:
        assert await drive.recover() == []
        assert content_of(memory, b"f") == bytes(3)


def noted(drives: Drives, ino: int, version: str) -> None:
    """A session that was killed has left a mark of that file."""
    with open(os.path.join(drives.directory, "marks", "killed"), "w") as marks:
        marks.write(f"{ino} {version}\n")


async def test_what_is_evicted_meanwhile_is_not_dirty(drives: Drives, memory: Memory, plan: Plan) -> None:
    """A session begins and asks about a file that a killed one has noted; another one evicts it before the answer."""
    await store(memory, b"f", b"first")
    first = (await memory.stat(b"f")).version
    async with drives() as drive:
        await drive.write(b"f", b"second")
        await settled(drive)
        status = await drive.stat(b"f")
        assert status is not None
        noted(drives, status.st_ino, first)
        gate = plan.hold("stat", path=b"f")

        async def begin() -> None:
            async with drives() as other:
                assert await other.recover() == []

        beginning = asyncio.ensure_future(begin())
        await gate.reached
        assert await empty(drive.mirror.store, status.st_ino, b"f")
        gate.open()
        await beginning
        assert await drive.dirty() == set()
        assert content_of(memory, b"f") == b"second" == await drive.read(b"f")


async def test_recover_leaves_what_another_session_writes(drives: Drives, memory: Memory) -> None:
    """It may push what is there, but the file stays dirty until its writer has closed it."""
    async with drives() as drive, drives() as other:
        file = await drive.open(b"f", WRITE)
        os.write(file, b"1")
        assert await other.recover() == []
        assert await other.dirty() == {os.fstat(file).st_ino}
        os.write(file, b"2")
        await drive.close(file)
        await settled(drive)
        await settled(other)
        assert content_of(memory, b"f") == b"12"
        assert await other.dirty() == set()
        assert set(tree_of(memory)) == {b"f"}


async def test_two_sessions_write_one_file(drives: Drives, memory: Memory) -> None:
    """Whoever closes last has both descriptors' bytes pushed; neither makes a conflict with the other."""
    async with drives() as drive, drives() as other:
        await drive.write(b"f", b"....")
        one, two = await drive.open(b"f", os.O_WRONLY), await other.open(b"f", os.O_WRONLY)
        os.pwrite(one, b"1", 0)
        os.pwrite(two, b"2", 3)
        await asyncio.gather(drive.close(one), other.close(two))
        await settled(drive)
        await settled(other)
        assert content_of(memory, b"f") == b"1..2"
        assert await drive.dirty() == set()
        assert set(tree_of(memory)) == {b"f"}


async def test_lost_events_are_made_good(drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an overflow of the inotify queue all files that were open for writing are looked at."""
    async with drives() as drive:
        file = await drive.open(b"f", WRITE)
        os.write(file, b"1")
        closings = drive.mirror.writeback._closings
        monkeypatch.setattr(closings, "take", lambda: iter([None]))
        os.close(file)
        drive.mirror.writeback.drain()
        monkeypatch.undo()
        await settled(drive)
        assert content_of(memory, b"f") == b"1"
        assert await drive.dirty() == set()


async def test_a_watch_that_cannot_be_had_fails_the_open(
    drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written that nobody would push; and no descriptor is left."""
    await store(memory, b"f", b"1")
    async with drives() as drive:

        def full(file: int, ino: int) -> int:
            raise OSError(28, "")

        await drive.read(b"f")
        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(drive.mirror.writeback._closings, "watch", full)
        with pytest.raises(OSError):
            await drive.open(b"f", os.O_WRONLY)
        assert len(os.listdir("/proc/self/fd")) == before


KILLED = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests/broker")!r}]
import asyncio, os
from mirror.drive import WRITE, Drives, share
from remotes.plans import Plan
async def work():
    drives = Drives(sys.argv[1], share(sys.argv[2]), Plan())
    async with drives() as drive:
        file = await drive.open(b"f", WRITE)
        os.write(file, b"content")
        os._exit(0)
asyncio.run(work())
"""


def test_a_killed_session_is_recovered(tmp_path: Path) -> None:
    """What a program wrote before its broker was killed goes to the remote by the next session."""
    (tmp_path / "share").mkdir()
    where = str(tmp_path / "mirror"), str(tmp_path / "share")
    subprocess.run([sys.executable, "-c", KILLED, *where], check=True)
    assert (tmp_path / "share/f").read_bytes() == b""

    async def recover() -> None:
        async with Drives(where[0], share(where[1]), Plan())() as drive:
            assert await drive.recover() == []
            assert await drive.dirty() == set()

    asyncio.run(recover())
    assert (tmp_path / "share/f").read_bytes() == b"content"


async def test_a_file_in_a_folder_that_cannot_be_listed_stays_on_record(
    drives: Drives, memory: Memory, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner has closed the folder (`chmod 000`): it is pushed once that is open again."""
    async with drives() as drive:
        await drive.mkdir(b"d")
        file = await drive.open(b"d/f", WRITE)
        os.write(file, b"content")
        plan.fail("write", times=100)
        with pytest.raises(Unavailable):
            await drive.close(file)
        await settled(drive)
    plan._rules.clear()
    async with drives() as drive:
        names = drive.mirror.tree.names

        def refuse(path: bytes) -> dict[bytes, int]:
            if path == b"d":
                raise PermissionError
            return names(path)

        with monkeypatch.context() as patch:
            patch.setattr(drive.mirror.tree, "names", refuse)
            await drive.recover()
        assert len(await drive.dirty()) == 1
        assert await drive.recover() == []
        assert content_of(memory, b"d/f") == b"content"
