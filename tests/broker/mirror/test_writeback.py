"""Write-back: what was written arrives, once, wherever the file went; what could not arrive is kept."""

from __future__ import annotations

import asyncio
import mmap
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remotes.conftest import ROOT
from remotes.memory import ALL, Memory, Node
from remotes.plans import Moment, Plan

from broker.mirror.conflicts import conflict_name
from broker.remotes.protocol import (
    NAME_MAX,
    Attributes,
    Changes,
    NoSpace,
    Remote,
    Unavailable,
    Version,
    VersionChanged,
    valid_name,
)
from broker.remotes.registry import open_file
from broker.settings import RemoteSettings

from .drive import WRITE, Drive, Drives, calling, content_of, opening, store, tree_of


async def settled(drive: Drive) -> None:
    """Wait for what inotify has announced so far, without pushing anything else."""
    drive.mirror.writeback.drain()
    while drive.mirror.writeback._tasks:
        await asyncio.wait(set(drive.mirror.writeback._tasks))
        drive.mirror.writeback.drain()


async def test_dirty_is_on_record_before_the_descriptor_is_there(drives: Drives, memory: Memory) -> None:
    """For every way of opening for writing: another session sees it dirty when the open returns."""
    for name in (b"a", b"b", b"c"):
        await store(memory, name, b"1")
    async with drives() as drive, drives() as other:
        ways = {b"a": os.O_WRONLY, b"b": os.O_RDWR | os.O_APPEND, b"c": WRITE, b"new": WRITE, b"x": WRITE | os.O_EXCL}
        files = [await drive.open(path, flags) for path, flags in ways.items()]
        assert await other.dirty() == {os.fstat(file).st_ino for file in files}
        for file in files:
            await drive.close(file)
        await settled(drive)
        assert await other.dirty() == set()


async def test_a_file_made_for_reading_is_not_dirty(drives: Drives) -> None:
    """O_CREAT without writing leaves nothing to push."""
    async with drives() as drive:
        file = await drive.open(b"f", os.O_RDONLY | os.O_CREAT)
        assert await drive.dirty() == set()
        os.close(file)


async def test_pushed_at_close_and_fsync(drives: Drives, memory: Memory) -> None:
    """The content, mode and times are there when the call returns."""
    async with drives() as drive:
        file = await drive.open(b"f", WRITE, 0o640)
        os.write(file, b"1")
        await drive.mirror.written(os.fstat(file).st_ino, durable=True)
        assert content_of(memory, b"f") == b"1"
        os.write(file, b"2")
        os.fchmod(file, 0o604)
        os.utime(file, ns=(10**18, 10**18))
        await drive.close(file)
        node = memory._find(b"f")
        assert (node.content, node.mode, node.mtime_ns) == (b"12", stat.S_IFREG | 0o604, 10**18)


async def test_only_what_changed_is_pushed(drives: Drives, memory: Memory, plan: Plan) -> None:
    """Content decides: not a file that was only read through its writing descriptor, nor one that was rewritten
    with the same bytes and time; one whose time alone changed has its attributes set."""
    await store(memory, b"f", b"content", mtime_ns=10**18)
    async with drives() as drive:
        file = await drive.open(b"f", os.O_RDWR)
        assert os.read(file, 100) == b"content"
        await drive.close(file)
        file = await drive.open(b"f", os.O_RDWR)
        os.write(file, b"content")
        os.utime(file, ns=(10**18, 10**18))
        await drive.close(file)
        await settled(drive)
        assert (memory.writes, plan.count("set_attributes")) == (1, 0)
        file = await drive.open(b"f", os.O_RDWR)
        os.utime(file, ns=(10**18, 10**18 + 5))
        await drive.close(file)
        await settled(drive)
        assert (memory.writes, plan.count("set_attributes")) == (1, 1)
        assert memory._find(b"f").mtime_ns == 10**18 + 5
        assert await drive.dirty() == set()


async def test_fsync_makes_durable_what_a_close_has_pushed(drives: Drives, plan: Plan) -> None:
    """An fsync of what the remote has already is not nothing: it must survive a power loss."""
    asked = []

    class Noting(Memory):
        async def write(
            self, path: bytes, source: int, base: Version | None, changes: Changes, *, durable: bool = True
        ) -> Attributes:
            asked.append(durable)
            return await super().write(path, source, base, changes, durable=durable)

    async with drives(remote=Noting(ALL)) as drive:
        file = await drive.open(b"f", WRITE)
        os.write(file, b"1")
        await drive.mirror.written(os.fstat(file).st_ino, durable=False)
        await drive.mirror.written(os.fstat(file).st_ino, durable=True)
        await drive.close(file)
    assert asked == [False, False, True]


async def test_pushed_again_when_the_last_copy_is_closed(drives: Drives, memory: Memory) -> None:
    """What is written through a dup'd descriptor after a push arrives at its close, which only inotify tells."""
    async with drives() as drive:
        file = await drive.open(b"f", WRITE)
        copy = os.dup(file)
        os.write(file, b"1")
        await drive.close(file)
        assert content_of(memory, b"f") == b"1"
        os.write(copy, b"2")
        os.close(copy)
        await settled(drive)
        assert content_of(memory, b"f") == b"12"
        assert await drive.dirty() == set()


async def test_a_store_to_a_mapping_after_a_push_arrives(drives: Drives, memory: Memory) -> None:
    """It changes no time, but the content; the end of the mapping is the last close."""
    await store(memory, b"f", b"content")
    async with drives() as drive:
        file = await drive.open(b"f", os.O_RDWR)
        mapping = mmap.mmap(file, 7)
        mapping[0] = ord("C")
        await drive.close(file)
        assert content_of(memory, b"f") == b"Content"
        await settled(drive)
        assert len(await drive.dirty()) == 1
        mapping[1] = ord("O")
        mapping.close()
        await settled(drive)
        assert content_of(memory, b"f") == b"COntent"
        assert await drive.dirty() == set()


@pytest.mark.parametrize("file_system", ["/tmp", "/dev/shm"])
async def test_a_read_only_truncation_arrives(drives: Drives, memory: Memory, file_system: str) -> None:
    """open(O_RDONLY|O_TRUNC): no close of a writer will tell; and the time changes even if it was empty, also on
    tmpfs, where truncate(2) to the same size changes nothing."""
    if not os.access(file_system, os.W_OK):
        pytest.skip(f"no {file_system} here")
    with tempfile.TemporaryDirectory(dir=file_system) as drives.directory:
        await _truncate_for_reading(drives, memory)


async def _truncate_for_reading(drives: Drives, memory: Memory) -> None:
    await store(memory, b"f", b"1")
    await store(memory, b"g", b"", mtime_ns=10**18)
    async with drives() as drive:
        for path in (b"f", b"g"):
            os.close(await drive.open(path, os.O_RDONLY | os.O_TRUNC))
        await settled(drive)
        assert content_of(memory, b"f") == b""
        assert memory._find(b"g").mtime_ns > 10**18
        assert await drive.dirty() == set()


async def test_nothing_is_emptied_before_it_is_dirty(
    drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open with O_TRUNC that fails has not thrown away what was there, nor hidden it."""
    await store(memory, b"f", b"content")
    async with drives() as drive:
        assert await drive.read(b"f") == b"content"

        async def full(file: int) -> None:
            raise OSError(28, "no watches left")

        with monkeypatch.context() as patch, pytest.raises(OSError):
            patch.setattr(drive.mirror.writeback, "hold", full)
            await drive.open(b"f", WRITE)
        assert await drive.read(b"f") == b"content"


async def test_truncate(drives: Drives, memory: Memory) -> None:
    """truncate(2) is pushed when it returns, and leaves nothing dirty; one that fails changes nothing."""
    await store(memory, b"f", b"content")
    async with drives() as drive:
        await drive.mirror.truncate(b"f", calling(os.truncate, 3))
        assert content_of(memory, b"f") == b"con"
        assert await drive.dirty() == set()

        def refused(real: bytes) -> int:
            raise PermissionError

        with pytest.raises(PermissionError):
            await drive.mirror.truncate(b"f", refused)
        await settled(drive)
        assert await drive.dirty() == set()
        assert content_of(memory, b"f") == b"con"


async def test_an_open_during_the_last_look_stays_watched(drives: Drives, memory: Memory) -> None:
    """A file that is opened again just while it is taken off the list does not lose its last close."""
    async with drives() as drive:
        for turn in range(20):
            await drive.write(b"f", b"%d" % turn)
            drive.mirror.writeback.drain()
            for _ in range(turn):
                await asyncio.sleep(0)
            file = await drive.open(b"f", os.O_WRONLY)
            os.write(file, b"again")
            os.close(file)
            await settled(drive)
            assert content_of(memory, b"f").startswith(b"again")
            assert await drive.dirty() == set()


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


async def test_an_unlinked_file_is_nobodys(drives: Drives, memory: Memory) -> None:
    """Writing to a file without a name, as programs do with temporary files, pushes nothing and leaves nothing."""
    async with drives() as drive:
        file = await drive.open(b"f", os.O_RDWR | os.O_CREAT)
        await drive.unlink(b"f")
        os.write(file, b"temporary")
        await drive.close(file)
        assert await drive.flush() == []
        assert await drive.dirty() == set()
        assert tree_of(memory) == {}


async def test_a_conflict_keeps_both(drives: Drives, memory: Memory) -> None:
    """The remote's content stays under the name, ours beside it; the user is told; both are shown and readable."""
    await store(memory, b"d/f", b"old")
    async with drives(ttl=0) as drive:
        file = await drive.open(b"d/f", os.O_WRONLY | os.O_TRUNC)
        os.write(file, b"ours")
        await store(memory, b"d/f", b"theirs")
        await drive.close(file)
        await settled(drive)
        names = await drive.names(b"d")
        (beside,) = names - {b"f"}
        assert re.fullmatch(rb"f\.conflict-.+-\d{8}T\d{6}Z", beside)
        assert await drive.read(b"d/f") == b"theirs"
        assert await drive.read(b"d/" + beside) == b"ours"
        assert {content for _, content in tree_of(memory).values()} == {b"", b"theirs", b"ours"}
        assert len(drive.said) == 1 and "d/f was changed on the remote" in drive.said[0]
        assert beside.decode() in drive.said[0]
        assert await drive.dirty() == set()


async def test_what_is_written_after_a_conflict_is_not_lost(drives: Drives, memory: Memory) -> None:
    """A program that has the file open goes on writing to the copy beside; a second conflict gets another name."""
    await store(memory, b"f", b"old")
    async with drives(ttl=0) as drive:
        for turn in (1, 2):
            file = await drive.open(b"f", os.O_WRONLY | os.O_TRUNC)
            os.write(file, b"ours %d" % turn)
            await store(memory, b"f", b"theirs %d" % turn)
            await drive.mirror.written(os.fstat(file).st_ino, durable=True)
            os.write(file, b", and more")
            await drive.close(file)
            await settled(drive)
        contents = {content for _, content in tree_of(memory).values()}
        assert contents == {b"theirs 2", b"ours 1, and more", b"ours 2, and more"}
        assert await drive.dirty() == set()


async def test_a_file_that_was_removed_there_is_kept_beside(drives: Drives, memory: Memory) -> None:
    """Removed on the remote while it was written here: it does not come back under its name, nor is it lost."""
    await store(memory, b"f", b"old")
    async with drives(ttl=0) as drive:
        file = await drive.open(b"f", os.O_WRONLY | os.O_TRUNC)
        os.write(file, b"ours")
        await memory.remove(b"f")
        await drive.close(file)
        await settled(drive)
        assert await drive.stat(b"f") is None
        ((path, (_, content)),) = tree_of(memory).items()
        assert path.startswith(b"f.conflict-") and content == b"ours"


async def test_a_lost_answer_is_no_conflict(drives: Drives, memory: Memory, plan: Plan) -> None:
    """The remote took the content, but the answer was lost: the next push finds its own content there."""
    async with drives() as drive:
        file = await drive.open(b"f", WRITE)
        os.write(file, b"content")
        plan.fail("write", moment=Moment.AFTER)
        with pytest.raises(Unavailable):
            await drive.close(file)
        assert await drive.flush() == []
        assert set(tree_of(memory)) == {b"f"}
        assert drive.said == [] or "conflict" not in drive.said[0]
        assert await drive.dirty() == set()


@pytest.mark.parametrize("change", ["chmod", "rename", "xattr"])
async def test_a_change_of_attributes_hides_no_change_of_content(drives: Drives, memory: Memory, change: str) -> None:
    """Our chmod, rename or setxattr on a file that somebody else has just written does not make the old content
    here pass for the new one there."""
    await store(memory, b"f", b"old")
    async with drives() as drive:
        assert await drive.read(b"f") == b"old"
        await drive.mirror.load_xattrs(b"f")
        await store(memory, b"f", b"theirs")
        path = b"f"
        if change == "chmod":
            await drive.chmod(b"f", 0o600)
        elif change == "rename":
            await drive.rename(b"f", b"g")
            path = b"g"
        else:
            await drive.mirror.set_xattr(b"f", b"user.a", b"1", calling(os.setxattr, "user.a", b"1"))
        assert await drive.read(path) == b"theirs"


async def test_a_rename_of_a_dirty_file_hides_no_conflict(drives: Drives, memory: Memory) -> None:
    """What somebody else wrote before our rename is not overwritten by our push after it."""
    await store(memory, b"f", b"old")
    async with drives() as drive:
        file = await drive.open(b"f", os.O_WRONLY | os.O_TRUNC)
        os.write(file, b"ours")
        await store(memory, b"f", b"theirs")
        await drive.rename(b"f", b"g")
        await drive.close(file)
        await settled(drive)
        assert content_of(memory, b"g") == b"theirs"
        assert sorted(content for _, content in tree_of(memory).values()) == [b"ours", b"theirs"]


async def test_coarse_times_do_not_keep_a_file_dirty(drives: Drives) -> None:
    """On a remote that keeps whole seconds, or no times at all, a pushed file is clean, and not pushed again."""
    for capabilities in (replace(ALL, time_resolution_ns=10**9), replace(ALL, times=False)):

        class Coarse(Memory):
            def _change(self, node: Node, changes: Changes) -> Attributes:
                super()._change(node, changes)
                node.mtime_ns = node.mtime_ns // 10**9 * 10**9
                return node.attributes()

        remote = Coarse(capabilities)
        async with drives(remote=remote) as drive:
            await drive.write(b"f", b"1")
            await settled(drive)
            assert await drive.dirty() == set()
            assert remote.writes == 2


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
from mirror.drive import WRITE, Drives
from mirror.test_writeback import share
from remotes.plans import Plan
async def work():
    drives = Drives(sys.argv[1], share(sys.argv[2]), Plan())
    async with drives() as drive:
        file = await drive.open(b"f", WRITE)
        os.write(file, b"content")
        os._exit(0)
asyncio.run(work())
"""


def share(path: str) -> Remote:
    """The `file:` remote of a folder."""
    return open_file(RemoteSettings(Path(path).as_uri()))


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


@given(st.binary(min_size=1, max_size=255).filter(valid_name), st.text(max_size=300), st.integers(0, 10**6))
def test_conflict_names(name: bytes, host: str, serial: int) -> None:
    """They are names that a folder can have, beside the file, different for each serial number."""
    moment = time.gmtime(0)
    host = host.replace("/", "").replace("\0", "")
    made = conflict_name(b"d/" + name, host, moment, serial)
    assert made.startswith(b"d/" + name[:100]) and valid_name(made[2:]) and len(made[2:]) <= NAME_MAX
    assert b".conflict-" in made and b"19700101T000000Z" in made
    assert made != conflict_name(b"d/" + name, host, moment, serial + 1)


async def test_a_version_that_moves_twice(drives: Drives, memory: Memory, plan: Plan) -> None:
    """A remote that says VersionChanged while its content cannot be compared is a conflict, not a loss."""
    await store(memory, b"f", b"old")
    async with drives() as drive:
        file = await drive.open(b"f", os.O_WRONLY)
        os.write(file, b"our")
        await store(memory, b"f", b"new")
        plan.fail("read", VersionChanged)
        await drive.close(file)
        assert sorted(content for _, content in tree_of(memory).values()) == [b"new", b"our"]


STAYS: list[Callable[[Drive], Awaitable[object]]] = [
    lambda drive: drive.stat(b"f"),
    lambda drive: drive.names(),
    lambda drive: drive.read(b"f"),
]


@pytest.mark.parametrize("look", STAYS)
async def test_a_file_open_for_writing_is_not_replaced(
    drives: Drives, memory: Memory, look: Callable[[Drive], Awaitable[object]]
) -> None:
    """By no way of looking, in no session, although the remote has another version."""
    await store(memory, b"f", b"old")
    async with drives(ttl=0) as drive, drives(ttl=0) as other:
        file = await drive.open(b"f", os.O_RDWR)
        await store(memory, b"f", b"theirs")
        for each in (drive, other):
            await look(each)
            found = await each.stat(b"f")
            assert found is not None and found.st_ino == os.fstat(file).st_ino
            again = await each.mirror.open(b"f", os.O_RDONLY, opening())
            assert os.read(again, 10) == b"old"
            os.close(again)
        os.close(file)
        await settled(drive)
        assert await other.read(b"f") == b"theirs"
