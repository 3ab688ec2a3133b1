"""Write-back: what was written arrives, once, wherever the file went; what could not arrive is kept."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from remotes.memory import ALL, Memory, Node
from remotes.plans import Plan

from broker.mirror.records import Record
from broker.remotes.protocol import Attributes, Changes

from .drive import WRITE, Drives, calling, content_of, settled, store, tree_of


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
        await drive.pushed(file, durable=True)
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


async def test_attributes_of_what_another_machine_has_written(drives: Drives, memory: Memory, plan: Plan) -> None:
    """It was written while a close pushed a time alone, and stays; nobody takes it for what is here."""
    await store(memory, b"f", b"ours")
    async with drives() as drive:
        file = await drive.open(b"f", os.O_WRONLY)
        os.utime(file)
        gate = plan.hold("set_attributes", path=b"f")
        closing = asyncio.ensure_future(drive.close(file))
        await gate.reached
        await store(memory, b"f", b"theirs")
        gate.open()
        await closing
        await settled(drive)
        assert await drive.read(b"f") == content_of(memory, b"f") == b"theirs"
        assert await drive.names() == {b"f"}


@pytest.mark.parametrize("listed", [False, True])
async def test_a_look_leaves_what_is_being_written_alone(drives: Drives, memory: Memory, listed: bool) -> None:
    """Its time and mode are its own until they are pushed with it, whatever the remote has meanwhile."""
    await store(memory, b"f", b"content", mode=0o640, mtime_ns=10**18)
    async with drives(ttl=0) as drive:
        file = await drive.open(b"f", os.O_RDWR)
        os.fchmod(file, 0o600)
        os.utime(file, ns=(10**18, 10**18 + 5))
        await drive.names() if listed else await drive.stat(b"f")
        status = os.fstat(file)
        assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o600, 10**18 + 5)
        await drive.close(file)
        node = memory._find(b"f")
        assert (node.mode & 0o777, node.mtime_ns) == (0o600, 10**18 + 5)


async def test_syncfs_says_what_it_could_not_push(drives: Drives, memory: Memory, plan: Plan) -> None:
    """Also of a file that is still open for writing; and nothing once all is there."""
    async with drives() as drive:
        file = await drive.open(b"f", WRITE)
        os.write(file, b"content")
        plan.fail("write", path=b"f")
        with pytest.raises(OSError, match="Input/output"):
            await drive.mirror.writeback.sync()
        await drive.mirror.writeback.sync()
        assert content_of(memory, b"f") == b"content"
        await drive.close(file)


async def test_fsync_makes_durable_what_a_close_has_pushed(drives: Drives, plan: Plan) -> None:
    """An fsync of what the remote has already is not nothing: it must survive a power loss. New content is sent
    durably at once, and what has no name any more, or cannot have changed, is nobody's business."""
    durable = []

    class Noting(Memory):
        async def write(self, path: bytes, *arguments: Any, **more: Any) -> Attributes:
            durable.append(more["durable"])
            return await super().write(path, *arguments, **more)

        async def sync(self, path: bytes) -> None:
            durable.append(path)
            await super().sync(path)

    remote = Noting(ALL)
    async with drives(remote=remote) as drive:
        file = await drive.open(b"f", WRITE)
        os.write(file, b"1")
        await drive.pushed(file, durable=False)
        await drive.pushed(file, durable=True)
        os.write(file, b"2")
        await drive.pushed(file, durable=True)
        await drive.close(file)
        folder, reader = await drive.open(b"", os.O_RDONLY), await drive.open(b"f", os.O_RDONLY)
        await drive.pushed(folder, durable=True)
        await drive.mirror.sync()
        await remote.remove(b"f")
        await drive.pushed(reader, durable=True)
        os.close(folder)
        os.close(reader)
    assert durable == [False, False, b"f", True, b"", b"", b"f"]
    async with drives(remote=remote, read_only=True) as drive:
        folder = await drive.open(b"", os.O_RDONLY)
        await drive.pushed(folder, durable=True)
        os.close(folder)
    assert len(durable) == 7


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

        def full(file: int, writer: object, *, spared: bool) -> None:
            raise OSError(28, "no watches left")

        with monkeypatch.context() as patch, pytest.raises(OSError):
            patch.setattr(drive.mirror.writeback, "holding", full)
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


async def test_what_is_truncated_unread_is_empty_when_it_becomes_dirty(
    drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another session gives a placeholder its size back whenever nobody works on it. If this one is killed as soon as
    the file is on record as dirty, no zeros are pushed nevertheless."""
    await store(memory, b"f", b"content")
    async with drives() as drive, drives(ttl=0) as other:
        await drive.stat(b"f")
        locks, ledger = drive.mirror._locks, drive.mirror._ledger
        node, mark_dirty = locks.node, ledger.mark_dirty
        sizes = []

        @contextlib.asynccontextmanager
        async def seen_after(ino: int) -> AsyncIterator[None]:
            async with node(ino):
                yield
            await other.stat(b"f")

        async def marked(ino: int) -> Record | None:
            sizes.append(os.stat(drive.mirror.tree.real(b"f")).st_size)
            return await mark_dirty(ino)

        monkeypatch.setattr(locks, "node", seen_after)
        monkeypatch.setattr(ledger, "mark_dirty", marked)
        os.close(await drive.open(b"f", os.O_WRONLY | os.O_TRUNC))
        assert sizes == [0]
        await settled(drive)


async def test_a_cache_that_was_removed_leaves_its_files_behind(drives: Drives, memory: Memory) -> None:
    """What was written in it is lost: that is told, without a word of another attempt, and is no success."""
    async with drives() as drive:
        file = await drive.open(b"f", WRITE)
        os.write(file, b"lost")
        shutil.rmtree(drives.directory)
        os.close(file)
        assert await drive.flush() == [b""]
        [said] = drive.said
        assert said.endswith("the cache directory was removed; what was written since the last push is lost")
