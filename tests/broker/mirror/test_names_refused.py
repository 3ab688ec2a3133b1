"""Changes of names that fail, on the remote, for the kernel, or for both, change nothing anywhere."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from remotes.memory import Memory
from remotes.plans import Moment, Plan

from broker.errors import errno_of
from broker.remotes.protocol import (
    AlreadyExists,
    Attributes,
    Capabilities,
    NotEmpty,
    NotFound,
    RemoteError,
    Unavailable,
)

from .drive import WRITE, Drive, Drives, calling, content_of, exchanging, store, symlinking, tree_of

FAILING: dict[str, Callable[[Drive], Awaitable[object]]] = {
    "write": lambda drive: drive.open(b"new", WRITE),
    "mkdir": lambda drive: drive.mkdir(b"new"),
    "symlink": lambda drive: drive.symlink(b"new", b"x"),
    "mknod": lambda drive: drive.mirror.mknod(b"new", calling(os.mkfifo)),
    "link": lambda drive: drive.link(b"f", b"new"),
    "remove": lambda drive: drive.unlink(b"f"),
    "rmdir": lambda drive: drive.rmdir(b"empty"),
    "rename": lambda drive: drive.rename(b"f", b"g"),
    "exchange": lambda drive: drive.mirror.rename(b"f", b"g", exchanging, replace=True, exchange=True),
    "set_attributes": lambda drive: drive.chmod(b"f", 0o4700),
}


@pytest.mark.parametrize("operation", FAILING)
async def test_a_failing_remote_leaves_all_as_it_was(
    drives: Drives, memory: Memory, plan: Plan, operation: str
) -> None:
    """For this session and another, at once: names, content and modes, dirty or not; the error is the caller's."""
    await store(memory, b"f", b"1")
    await store(memory, b"g", b"2")
    await store(memory, b"empty/x", b"")
    await memory.remove(b"empty/x")
    async with drives() as drive, drives() as other:
        for each in (drive, other):
            assert await each.names() == {b"f", b"g", b"empty"}
        before = tree_of(memory)
        plan.fail(operation, NotEmpty)
        with pytest.raises(RemoteError):
            await FAILING[operation](drive)
        for each in (drive, other):
            assert await each.names() == {b"f", b"g", b"empty"}
            assert [await each.read(name) for name in (b"f", b"g")] == [b"1", b"2"]
            found = await each.stat(b"f")
            assert found is not None and found.st_mode == stat.S_IFREG | 0o644
            assert await each.names(b"empty") == set()
        assert tree_of(memory) == before
        assert os.listdir(drive.mirror.tree.staging) == []


@pytest.mark.parametrize("operation", ["write", "mkdir", "mknod"])
async def test_what_fails_at_the_end_leaves_no_record(
    drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """A call may be cancelled when all is on record: the inode's number is free, and nothing is known of its next
    owner."""
    async with drives() as drive:
        learn, lookup = drive.mirror._lookup.learn, drive.mirror._lookup
        inos = []

        async def learn_and_fail(path: bytes, attributes: Attributes, **known: Any) -> None:
            await learn(path, attributes, **known)
            inos.append(os.lstat(drive.mirror.tree.real(path)).st_ino)
            raise asyncio.CancelledError

        monkeypatch.setattr(lookup, "learn", learn_and_fail)
        with pytest.raises(asyncio.CancelledError):
            await FAILING[operation](drive)
        assert await drive.mirror._ledger.get_many(inos) == {}
        assert await drive.names() == set() == set(tree_of(memory))


async def test_dirty_content_comes_back_when_its_removal_fails(drives: Drives, memory: Memory, plan: Plan) -> None:
    """It may be the only copy: after a failed unlink, or rename over it, it is still there, and pushed later."""
    async with drives() as drive:
        for name in (b"f", b"g"):
            plan.fail("write", path=name, times=0)
            file = await drive.open(name, WRITE)
            os.write(file, name)
            plan.fail("write", path=name)
            with pytest.raises(Unavailable):
                await drive.close(file)
        plan.fail("remove")
        with pytest.raises(Unavailable):
            await drive.unlink(b"f")
        plan.fail("rename")
        with pytest.raises(Unavailable):
            await drive.rename(b"f", b"g")
        assert [await drive.read(name) for name in (b"f", b"g")] == [b"f", b"g"]
        assert await drive.flush() == []
        assert [content_of(memory, name) for name in (b"f", b"g")] == [b"f", b"g"]


def once(act: Callable[[bytes, bytes], int]) -> Callable[[bytes, bytes], int]:
    """The call of somebody who may not take it back: as in a sticky folder, over a file of his own."""
    acts = iter([act])
    return lambda old, new: next(acts, refuse)(old, new)


def refuse(old: bytes, new: bytes) -> int:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


async def written_but_not_closed(drive: Drive, memory: Memory) -> int:
    """`f` and `g` are named by their contents; the descriptor by which `f` has been written to since."""
    for name in (b"f", b"g"):
        await store(memory, name, name)
    await drive.names()
    file = await drive.open(b"f", os.O_WRONLY)
    os.write(file, b"written")
    return file


@pytest.mark.parametrize("exchange", [False, True])
async def test_a_refused_rename_is_not_taken_back_as_the_caller(
    drives: Drives, memory: Memory, plan: Plan, exchange: bool
) -> None:
    """He may have been allowed to move a file there, and not back: it is dirty, and nothing may take its place."""
    async with drives() as drive:
        file = await written_but_not_closed(drive, memory)
        plan.fail("exchange" if exchange else "rename")
        act = once(exchanging if exchange else calling(os.rename))
        with pytest.raises(Unavailable):
            await drive.mirror.rename(b"f", b"g", act, replace=True, exchange=exchange)
        await drive.close(file)
        assert [content_of(memory, name) for name in (b"f", b"g")] == [b"written", b"g"]
        assert [await drive.read(name) for name in (b"f", b"g")] == [b"written", b"g"]


async def test_what_cannot_be_moved_back_is_kept(
    drives: Drives, memory: Memory, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a rename that is refused has moved stays where it is, rather than what was there taking its place."""
    async with drives() as drive:
        file = await written_but_not_closed(drive, memory)
        plan.fail("rename")
        monkeypatch.setattr(drive.mirror.tree, "move", refuse)
        with pytest.raises(Unavailable):
            await drive.rename(b"f", b"g")
        monkeypatch.undo()
        await drive.close(file)
        assert b"written" in {content for _, content in tree_of(memory).values()}


async def test_what_the_remote_has_already(drives: Drives, memory: Memory) -> None:
    """A name that appeared there since it was looked up is EEXIST, and shown from then on."""
    async with drives() as drive:
        for name in (b"f", b"d", b"s"):
            assert await drive.stat(name) is None
            await store(memory, name, b"theirs")
        with pytest.raises(FileExistsError):
            await drive.open(b"f", WRITE | os.O_EXCL)
        with pytest.raises(FileExistsError):
            await drive.mirror.mkdir(b"d", calling(os.mkdir))
        with pytest.raises(FileExistsError):
            await drive.mirror.symlink(b"s", b"x", symlinking(b"x"))
        assert [await drive.read(name) for name in (b"f", b"d", b"s")] == [b"theirs"] * 3


async def test_a_folder_that_is_not_empty_there(drives: Drives, memory: Memory) -> None:
    """A file that another host made is found before rmdir, or reported by the remote; it stays either way."""
    await store(memory, b"d/f", b"")
    async with drives() as drive:
        with pytest.raises(OSError) as caught:
            await drive.rmdir(b"d")
        assert caught.value.errno == errno.ENOTEMPTY
        await drive.unlink(b"d/f")
        await store(memory, b"d/g", b"")
        with pytest.raises(NotEmpty):
            await drive.rmdir(b"d")
        assert content_of(memory, b"d/g") == b""
        assert await drive.stat(b"d") is not None


async def test_the_kernel_judges_first(drives: Drives, memory: Memory, plan: Plan) -> None:
    """What a local file system refuses never reaches the remote."""
    await store(memory, b"f", b"")
    await store(memory, b"d/x", b"")
    async with drives() as drive:
        await drive.names()
        await drive.names(b"d")
        plan.calls.clear()
        refused: list[tuple[int, Callable[[], Awaitable[object]]]] = [
            (errno.EEXIST, lambda: drive.mkdir(b"f")),
            (errno.EISDIR, lambda: drive.unlink(b"d")),
            (errno.ENOTDIR, lambda: drive.rename(b"d", b"f")),
            (errno.EISDIR, lambda: drive.rename(b"f", b"d")),
            (errno.EINVAL, lambda: drive.rename(b"d", b"d/below")),
            (errno.ENOTEMPTY, lambda: drive.rmdir(b"d")),
        ]
        for number, work in refused:
            with pytest.raises(OSError) as caught:
                await work()
            assert caught.value.errno == number
        changes = {"mkdir", "remove", "rmdir", "rename", "write", "set_attributes"}
        assert not changes & {call.operation for call in plan.calls}


@pytest.mark.parametrize("missing", ["symlinks", "hard_links", "special_files"])
async def test_what_the_remote_cannot_keep_is_eperm(drives: Drives, missing: str) -> None:
    """As on a Linux file system without it; and nothing of it is left."""
    capabilities = {name: name != missing for name in ("symlinks", "hard_links", "special_files")}
    memory = Memory(Capabilities(owners=True, **capabilities))
    await store(memory, b"f", b"")
    async with drives(remote=memory) as drive:
        kinds: dict[str, Callable[[], Awaitable[object]]] = {
            "symlinks": lambda: drive.symlink(b"s", b"x"),
            "hard_links": lambda: drive.link(b"f", b"s"),
            "special_files": lambda: drive.mirror.mknod(b"s", calling(os.mkfifo)),
        }
        with pytest.raises(PermissionError) as caught:
            await kinds[missing]()
        assert caught.value.errno == errno.EPERM
        assert await drive.names() == {b"f"}


async def test_a_lost_answer(drives: Drives, memory: Memory, plan: Plan) -> None:
    """The remote did it, but its answer was lost: the error is reported, and then both agree."""
    await store(memory, b"f", b"1")
    async with drives() as drive:
        for operation, work in (("mkdir", drive.mkdir(b"d")), ("rename", drive.rename(b"f", b"g"))):
            plan.fail(operation, moment=Moment.AFTER)
            with pytest.raises(Unavailable) as caught:
                await work
            assert errno_of(caught.value) == errno.EIO
        drive.mirror._lookup._trust.ttl = 0
        assert await drive.names() == {b"d", b"g"}
        assert await drive.read(b"g") == b"1"


async def test_errors_of_the_remote_are_translated(drives: Drives, plan: Plan) -> None:
    """An AlreadyExists of the remote is an EEXIST like the kernel's, others keep their type."""
    async with drives() as drive:
        plan.fail("mkdir", AlreadyExists)
        with pytest.raises(FileExistsError):
            await drive.mkdir(b"d")
        plan.fail("mkdir", NotFound, times=2)  # it is asked once more: the folder might be on its way there
        with pytest.raises(NotFound):
            await drive.mkdir(b"d")
