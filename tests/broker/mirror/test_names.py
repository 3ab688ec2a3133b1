"""Names: made, moved and removed here and on the remote, or neither here nor there."""

from __future__ import annotations

import asyncio
import os
import pathlib
import stat
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from remotes.memory import Memory
from remotes.plans import Plan

from broker.mirror.mirror import Mirror

from .drive import WRITE, Drive, Drives, calling, content_of, exchanging, share, store, tree_of


async def test_all_that_is_made_is_on_the_remote_at_once(drives: Drives, memory: Memory) -> None:
    """With its mode, when the call returns."""
    async with drives() as drive:
        await drive.mkdir(b"d", 0o750)
        await drive.symlink(b"d/s", b"../x")
        await drive.write(b"d/f", b"", mode=0o640)
        await drive.link(b"d/f", b"d/g")
        await drive.mirror.mknod(b"d/p", calling(os.mkfifo, 0o600))
        await drive.mirror.mknod(b"d/r", calling(os.mknod, stat.S_IFREG | 0o604))
        assert tree_of(memory) == {
            b"d": (stat.S_IFDIR | 0o750, b""),
            b"d/s": (stat.S_IFLNK, b"../x"),
            b"d/f": (stat.S_IFREG | 0o640, b""),
            b"d/g": (stat.S_IFREG | 0o640, b""),
            b"d/p": (stat.S_IFIFO | 0o600, b""),
            b"d/r": (stat.S_IFREG | 0o604, b""),
        }
        assert await drive.names(b"d") == {b"s", b"f", b"g", b"p", b"r"}


async def test_renames_and_removals(drives: Drives, memory: Memory) -> None:
    """Over a file, of a folder with content, an exchange; what is gone is gone on both sides."""
    for path in (b"a", b"b", b"d/e/f", b"x/y"):
        await store(memory, path, path)
    async with drives() as drive:
        await drive.rename(b"a", b"b")
        await drive.rename(b"d", b"x/d")
        await drive.stat(b"x/y")
        await drive.mirror.rename(b"b", b"x/y", exchanging, replace=True, exchange=True)
        assert await drive.read(b"b") == b"x/y"
        assert await drive.read(b"x/y") == b"a"
        assert await drive.read(b"x/d/e/f") == b"d/e/f"
        assert await drive.stat(b"d") is None
        await drive.unlink(b"x/d/e/f")
        await drive.rmdir(b"x/d/e")
        assert set(tree_of(memory)) == {b"b", b"x", b"x/y", b"x/d"}


async def test_dirty_files_are_renamed_and_removed(drives: Drives, memory: Memory) -> None:
    """What is written after a rename is pushed to the new name; after an unlink, nowhere."""
    async with drives() as drive:
        await drive.mkdir(b"d")
        renamed = await drive.open(b"d/f", WRITE)
        removed = await drive.open(b"d/g", WRITE)
        replaced = await drive.open(b"d/h", WRITE)
        await drive.rename(b"d/f", b"d/h")
        await drive.rename(b"d", b"e")
        await drive.unlink(b"e/g")
        for file in (renamed, removed, replaced):
            os.write(file, b"%d" % file)
            await drive.close(file)
        assert await drive.flush() == []
        assert await drive.dirty() == set()
        assert set(tree_of(memory)) == {b"e", b"e/h"}
        assert content_of(memory, b"e/h") == b"%d" % renamed


async def test_an_exchange_takes_what_is_being_written_along(drives: Drives, memory: Memory) -> None:
    """Both files keep their inodes; what is written to one goes to its new name, and is no conflict."""
    for name in (b"a", b"b"):
        await store(memory, name, name)
    async with drives() as drive:
        await drive.names()
        file = await drive.open(b"a", os.O_WRONLY | os.O_TRUNC)
        os.write(file, b"written")
        before = [await drive.stat(name) for name in (b"a", b"b")]
        await drive.mirror.rename(b"a", b"b", exchanging, replace=True, exchange=True)
        await drive.close(file)
        await drive.flush()
        assert [content_of(memory, name) for name in (b"a", b"b")] == [b"b", b"written"]
        assert set(tree_of(memory)) == {b"a", b"b"}
        assert [await drive.read(name) for name in (b"a", b"b")] == [b"b", b"written"]
        after = [await drive.stat(name) for name in (b"b", b"a")]
        assert [found and found.st_ino for found in after] == [found and found.st_ino for found in before]


async def test_folders_are_counted(drives: Drives, tmp_path: pathlib.Path) -> None:
    """In the links of the folder that they are in, at once, also of one that was not listed."""
    for name in ("d/old", "e"):
        (tmp_path / "share" / name).mkdir(parents=True)
    (tmp_path / "share/e/file").touch()
    rename = partial(Mirror.rename, replace=True)
    async with drives(remote=share(str(tmp_path / "share"))) as drive:
        steps: list[Callable[[Mirror], Awaitable[int]]] = [
            lambda mirror: mirror.mkdir(b"d/new", calling(os.mkdir)),
            lambda mirror: rename(mirror, b"d/old", b"d/new", calling(os.rename), exchange=False),
            lambda mirror: rename(mirror, b"d/new", b"e/old", calling(os.rename), exchange=False),
            lambda mirror: rename(mirror, b"d", b"e/file", exchanging, exchange=True),
            lambda mirror: mirror.rmdir(b"e/old", calling(os.rmdir)),
        ]
        for path in (b"", b"d", b"d/old", b"e"):
            await drive.stat(path)
        for step in steps:
            await step(drive.mirror)
            for path in (b"", b"d", b"e"):
                found = await drive.stat(path)
                assert found is not None
                native = os.stat(tmp_path / "share" / os.fsdecode(path)).st_nlink
                assert drive.mirror.shown(path, found.st_ino).nlink == native


CHANGES: dict[str, tuple[Callable[[Drive], Awaitable[None]], bytes | None]] = {
    "rename": (lambda drive: drive.rename(b"d/e/f", b"d/e/g"), b"d/e/g"),
    "rename of a folder above": (lambda drive: drive.rename(b"d", b"moved"), b"moved/e/f"),
    "rename over": (lambda drive: drive.rename(b"d/e/other", b"d/e/f"), None),
    "unlink": (lambda drive: drive.unlink(b"d/e/f"), None),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_push_on_its_way_is_waited_for(drives: Drives, memory: Memory, plan: Plan, change: str) -> None:
    """A change of the name of what is being pushed, or of a folder above it, makes no conflict of it."""
    work, remains = CHANGES[change]
    await store(memory, b"d/e/other", b"other")
    async with drives() as drive:
        file = await drive.open(b"d/e/f", WRITE)
        os.write(file, b"content")
        gate = plan.hold("write")
        pushing = asyncio.ensure_future(drive.close(file))
        await gate.reached
        changing = asyncio.ensure_future(work(drive))
        await asyncio.sleep(0.02)
        assert not changing.done()
        gate.open()
        await asyncio.gather(pushing, changing)
        assert await drive.flush() == []
        assert drive.said == []
        assert await drive.dirty() == set()
    left = {path: content for path, (mode, content) in tree_of(memory).items() if content}
    assert {path for path, content in left.items() if content == b"content"} == ({remains} if remains else set())
    assert not any(b"conflict" in path for path in left)


async def test_creating_what_appeared_meanwhile_opens_it(drives: Drives, memory: Memory, plan: Plan) -> None:
    """open(O_CREAT) without O_EXCL, on a name that another host makes at the same moment."""
    async with drives() as drive:
        gate = plan.hold("write", path=b"f")
        opening = asyncio.ensure_future(drive.open(b"f", os.O_RDWR | os.O_CREAT))
        await gate.reached
        await store(memory, b"f", b"theirs")
        gate.open()
        file = await opening
        assert os.read(file, 10) == b"theirs"
        os.close(file)


async def test_what_is_gone_already_can_be_removed(drives: Drives, memory: Memory) -> None:
    """Another host was faster: the unlink of a name that was there when it was looked up succeeds."""
    await store(memory, b"f", b"")
    async with drives() as drive:
        await drive.stat(b"f")
        await memory.remove(b"f")
        await drive.unlink(b"f")
        assert await drive.stat(b"f") is None


async def test_a_rename_to_another_name_of_the_same_file(drives: Drives, memory: Memory) -> None:
    """It does nothing (rename(2)); both names stay."""
    await store(memory, b"a", b"1")
    await memory.link(b"a", b"b")
    async with drives() as drive:
        await drive.names()
        await drive.rename(b"a", b"b")
        assert await drive.names() == {b"a", b"b"}
        assert set(tree_of(memory)) == {b"a", b"b"}


async def test_links_of_one_file_stay_one(drives: Drives, memory: Memory) -> None:
    """After a link and the removal of one name, the other has the same inode, one link, and is not fetched again."""
    await store(memory, b"a", b"1")
    async with drives() as drive:
        assert await drive.read(b"a") == b"1"
        await drive.link(b"a", b"b")
        both = [await drive.stat(name) for name in (b"a", b"b")]
        assert both[0] is not None and both[1] is not None and both[0].st_ino == both[1].st_ino
        assert drive.mirror.shown(b"a", both[0].st_ino).nlink == 2
        await drive.unlink(b"a")
        assert await drive.read(b"b") == b"1"
        found = await drive.stat(b"b")
        assert found is not None and found.st_ino == both[0].st_ino
        assert drive.mirror.shown(b"b", found.st_ino).nlink == 1
        assert memory.reads == 1


async def test_names_of_a_file_that_is_open_for_writing(drives: Drives, memory: Memory) -> None:
    """All of them are counted, also those that the mirror has not seen, while it is dirty."""
    await store(memory, b"a", b"1")
    await memory.link(b"a", b"elsewhere")
    async with drives() as drive:
        file = await drive.open(b"a", os.O_RDWR)
        ino = os.fstat(file).st_ino
        assert drive.mirror.shown(b"a", ino).nlink == 2
        await drive.link(b"a", b"b")
        assert drive.mirror.shown(b"b", ino).nlink == 3
        await drive.unlink(b"a")
        assert drive.mirror.shown(b"b", ino).nlink == 2
        os.close(file)


async def test_a_link_to_what_has_changed_meanwhile(drives: Drives, memory: Memory) -> None:
    """The new name shows the file as it is on the remote now, not as it was when the other name was looked at."""
    await store(memory, b"a", b"1")
    async with drives() as drive:
        await drive.stat(b"a")
        await store(memory, b"a", b"longer")
        await memory.link(b"a", b"elsewhere")
        await drive.link(b"a", b"b")
        found = await drive.stat(b"b")
        assert found is not None and found.st_size == len(b"longer")
        assert drive.mirror.shown(b"b", found.st_ino).nlink == 3
        assert await drive.read(b"b") == await drive.read(b"a") == b"longer"


@pytest.mark.parametrize("flags", [os.O_RDWR | os.O_CREAT, os.O_RDONLY | os.O_CREAT])
async def test_a_set_id_file_is_made_there_and_not_here(drives: Drives, memory: Memory, flags: int) -> None:
    """open(2) with mode 04755, and mknod(2): the remote has the bits, the mirror's inode never."""
    async with drives() as drive:
        await drive.write(b"f", b"x" if flags & os.O_RDWR else b"", flags, mode=0o4755)
        await drive.mirror.mknod(b"g", calling(os.mknod, stat.S_IFREG | 0o2711))
        assert (memory._find(b"f").mode & 0o7777, memory._find(b"g").mode & 0o7777) == (0o4755, 0o2711)
        for name, mode in ((b"f", 0o755), (b"g", 0o711)):
            found = await drive.stat(name)
            assert found is not None and stat.S_IMODE(found.st_mode) == mode


async def test_an_inode_number_that_is_used_again_has_no_past(drives: Drives, memory: Memory) -> None:
    """Files that get the number of a removed, replaced or overwritten one are what they are."""
    async with drives() as drive:
        for turn in range(30):
            path = b"f%d" % (turn % 3)
            if await drive.stat(path) is not None:
                await drive.unlink(path)
            await store(memory, path, b"%d" % turn)
            drive.mirror._lookup.distrust(path)
            assert await drive.read(path) == b"%d" % turn
            await drive.write(b"g", b"x%d" % turn)
            await drive.mkdir(b"d")
            await drive.mkdir(b"d2")
            await drive.rename(b"d2", b"d")
            await drive.rename(b"g", b"h")
            assert await drive.read(b"h") == b"x%d" % turn
            await drive.rmdir(b"d")
        assert await drive.flush() == []


@pytest.mark.parametrize("how", ["mkdir", "rename"])
async def test_a_folder_on_its_way_to_the_remote(drives: Drives, memory: Memory, plan: Plan, how: str) -> None:
    """It is there for programs before the remote has it: what they make in it waits, and is no error."""
    async with drives() as drive:
        await drive.mkdir(b"old")
        gate = plan.hold(how)
        making = asyncio.ensure_future(drive.mkdir(b"d") if how == "mkdir" else drive.rename(b"old", b"d"))
        await gate.reached
        inside = [asyncio.ensure_future(work) for work in (drive.write(b"d/f", b"x"), drive.mkdir(b"d/e"))]
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in inside)
        gate.open()
        await asyncio.gather(making, *inside)
        assert await drive.names(b"d") == {b"e", b"f"}
    assert content_of(memory, b"d/f") == b"x"


@pytest.mark.parametrize("how", ["rename", "remove"])
async def test_a_listing_brings_back_no_name_on_its_way_out(
    drives: Drives, memory: Memory, plan: Plan, how: str
) -> None:
    """The remote still lists what a program has renamed or removed, until it is told: the name stays free."""
    await store(memory, b"d/f", b"x")
    await store(memory, b"d/g", b"y")
    async with drives(ttl=0) as drive:
        await drive.names(b"d")
        gate = plan.hold(how)
        going = asyncio.ensure_future(drive.rename(b"d/f", b"d/h") if how == "rename" else drive.unlink(b"d/f"))
        await gate.reached
        listing = asyncio.ensure_future(drive.names(b"d"))
        await asyncio.sleep(0.02)
        assert not os.path.lexists(drive.mirror.tree.real(b"d/f"))
        gate.open()
        await going
        assert b"f" not in await listing
        await drive.symlink(b"d/f", b"target")
