"""Files with several names: one node in the mirror, whoever finds which name first, and nothing lost with a name."""

from __future__ import annotations

import os
import stat

import pytest
from remotes.memory import Memory
from remotes.plans import Plan

from broker.remotes.protocol import Changes, Forbidden

from .drive import WRITE, Drive, Drives, calling, content_of, store


async def inode(drive: Drive, path: bytes) -> int:
    status = await drive.stat(path)
    assert status is not None
    return status.st_ino


async def test_two_sessions_find_a_name_each(drives: Drives, memory: Memory) -> None:
    """What is written through one name is there under the other, also when the first is gone before the close."""
    await store(memory, b"a", b"old")
    await memory.link(b"a", b"b")
    async with drives() as first, drives() as second:
        assert await inode(first, b"a") == await inode(second, b"b")
        file = await first.open(b"a", os.O_RDWR)
        await first.unlink(b"a")
        os.write(file, b"new")
        await first.close(file)
        assert content_of(memory, b"b") == b"new"
        assert await second.read(b"b") == b"new"


async def test_a_name_that_the_mirror_lacks(drives: Drives, memory: Memory) -> None:
    """What was written before the only name that is known here goes, by unlink or by rename, is not lost with it."""
    for name in (b"a", b"b"):
        await store(memory, name, b"old")
        await memory.link(name, name + b"-elsewhere")
    async with drives() as drive:
        files = [await drive.open(name, os.O_RDWR) for name in (b"a", b"b")]
        for file in files:
            os.write(file, b"new")
        await drive.write(b"c", b"c", WRITE)
        await drive.unlink(b"a")
        await drive.rename(b"c", b"b")
        for file in files:
            await drive.close(file)
        assert content_of(memory, b"a-elsewhere") == content_of(memory, b"b-elsewhere") == b"new"
        assert content_of(memory, b"b") == b"c"


@pytest.mark.parametrize("opened", [b"a", b"b"])
async def test_a_name_that_went_elsewhere_while_the_file_is_written(
    drives: Drives, memory: Memory, opened: bytes
) -> None:
    """It is gone here too: what is newer here is the content, which the other name keeps. The last name stays as long
    as the content is on no remote."""
    await store(memory, b"a", b"old")
    await memory.link(b"a", b"b")
    async with drives(ttl=0) as drive:
        assert await inode(drive, b"a") == await inode(drive, b"b")
        file = await drive.open(opened, os.O_RDWR)
        os.write(file, b"new")
        await memory.remove(b"a")
        assert await drive.stat(b"a") is None
        with pytest.raises(FileNotFoundError):
            await drive.open(b"a", os.O_RDONLY)
        assert await drive.read(b"b") == b"new"
        await drive.close(file)
        assert content_of(memory, b"b") == b"new"
        file = await drive.open(b"b", os.O_RDWR)
        os.write(file, b"newer")
        await memory.remove(b"b")
        assert await drive.read(b"b") == b"newer"
        await drive.close(file)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("several", [False, True])
async def test_a_name_that_became_another_file_while_the_first_is_written(
    drives: Drives, memory: Memory, several: bool, listed: bool
) -> None:
    """What is done by that name is done to the other file; what is open is pushed to where the first one still is."""
    await store(memory, b"a", b"old")
    for name in (b"b", b"c"):
        await memory.link(b"a", name)
    async with drives(ttl=0) as drive:
        assert len({await inode(drive, name) for name in (b"a", b"b", b"c")}) == 1
        file = await drive.open(b"a", os.O_RDWR)
        os.write(file, b"new")
        await memory.remove(b"a")
        await store(memory, b"a", b"another")
        if several:
            await memory.link(b"a", b"another name")
        if listed:
            await drive.names()
        else:
            await drive.stat(b"a")
        assert os.lstat(drive.mirror.tree.real(b"a")).st_size == len(b"another")
        assert await drive.read(b"a") == b"another"
        await drive.chmod(b"a", 0o600)
        await drive.write(b"a", b"ANOTHER", os.O_WRONLY)
        await drive.close(file)
        assert [content_of(memory, name) for name in (b"a", b"b", b"c")] == [b"ANOTHER", b"new", b"new"]
        modes = [stat.S_IMODE((await memory.stat(name)).mode) for name in (b"a", b"b")]
        assert modes[0] == 0o600 != modes[1]


async def test_what_is_written_after_the_only_known_name_went(drives: Drives, memory: Memory) -> None:
    """It belongs to a name that only the remote knew, in a folder that nobody has looked at."""
    await memory.mkdir(b"d", Changes(mode=0o755))
    await memory.mkdir(b"d/e", Changes(mode=0o755))
    for name in (b"a", b"b", b"known"):
        await store(memory, name, b"old")
        await memory.link(name, b"d/e/" + name)
    async with drives() as drive:
        await drive.stat(b"d/e/known")
        files = [await drive.open(name, os.O_RDWR) for name in (b"a", b"b", b"known")]
        await drive.write(b"c", b"c", WRITE)
        await drive.unlink(b"a")
        await drive.rename(b"c", b"b")
        await drive.unlink(b"known")
        for file in files:
            os.write(file, b"new")
            await drive.close(file)
        for name in (b"a", b"b", b"known"):
            assert content_of(memory, b"d/e/" + name) == b"new"
            assert await drive.read(b"d/e/" + name) == b"new"
        assert content_of(memory, b"b") == b"c"
        assert drive.said == []


async def test_a_name_that_went_on_the_remote_too(drives: Drives, memory: Memory) -> None:
    """The other name has gone meanwhile, and nothing else is taken for it: what is written then is nobody's."""
    await store(memory, b"a", b"old")
    await store(memory, b"other", b"old")
    await memory.link(b"a", b"b")
    async with drives() as drive:
        file = await drive.open(b"a", os.O_RDWR)
        await memory.remove(b"b")
        await drive.unlink(b"a")
        os.write(file, b"new")
        await drive.close(file)
        assert content_of(memory, b"other") == b"old"
        assert await drive.names(b"") == {b"other"}


async def test_what_cannot_be_listed_is_in_nobodys_way(drives: Drives, memory: Memory, plan: Plan) -> None:
    """The other names are looked for where one may look."""
    await store(memory, b"a", b"old")
    for folder in (b"closed", b"d"):
        await memory.mkdir(folder, Changes(mode=0o700))
    await memory.link(b"a", b"d/b")
    plan.fail("list", Forbidden, path=b"closed", times=9)
    async with drives() as drive:
        file = await drive.open(b"a", os.O_RDWR)
        await drive.unlink(b"a")
        os.write(file, b"new")
        await drive.close(file)
    assert content_of(memory, b"d/b") == b"new"


@pytest.mark.parametrize("gone", [True, False])
async def test_nothing_is_searched_in_vain(drives: Drives, memory: Memory, plan: Plan, gone: bool) -> None:
    """Not for a file whose other names have gone by the time of the push, nor for a name that stays."""
    await store(memory, b"a", b"old")
    await store(memory, b"c", b"c")
    await memory.link(b"a", b"b")

    def taken(old: bytes, new: bytes) -> None:
        raise FileExistsError

    async with drives() as drive:
        file = await drive.open(b"a", os.O_RDWR)
        os.write(file, b"new")
        if gone:
            await memory.remove(b"b")
            await drive.unlink(b"a")
        else:
            with pytest.raises(FileExistsError):
                await drive.mirror.rename(b"c", b"a", calling(taken), replace=False, exchange=False)
        await drive.close(file)
    assert plan.count("list") == 0


async def test_names_are_found_without_a_search(
    drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unlinking one of several names looks through the tree only if folders were renamed: it may be large."""
    for name in (b"d/a", b"d/b", b"d/c", b"d/x"):
        await store(memory, name, b"content")
    async with drives() as drive:
        await drive.names(b"d")
        await drive.link(b"d/x", b"d/y")
        for name in (b"d/a", b"d/b"):
            await drive.link(name, name + b"2")
        with monkeypatch.context() as patch:
            patch.setattr(drive.mirror.tree, "walk", None)
            await drive.unlink(b"d/a")
            await drive.rename(b"d/c", b"d/b")
        await drive.rename(b"d", b"e")
        await drive.unlink(b"e/x")
        for name in (b"e/a2", b"e/b2", b"e/y"):
            status = await drive.stat(name)
            assert status is not None and drive.mirror.shown(name, status.st_ino).nlink == 1


async def test_a_hint_leads_through_no_symlink(drives: Drives, memory: Memory) -> None:
    """Where a folder was is a symlink by now, even one in a loop: the other name is found nevertheless."""
    await store(memory, b"d/a", b"content")
    async with drives() as drive:
        await drive.names(b"d")
        await drive.link(b"d/a", b"b")
        await drive.rename(b"d", b"e")
        await drive.symlink(b"d", b"d")
        await drive.unlink(b"b")
        status = await drive.stat(b"e/a")
        assert status is not None and drive.mirror.shown(b"e/a", status.st_ino).nlink == 1
        assert not os.listdir(drive.mirror.tree.staging)


async def test_no_record_stays_of_all_the_names(drives: Drives, memory: Memory) -> None:
    """A folder with both names of a file goes on the remote: with it goes what is on record."""
    await store(memory, b"d/a", b"content")
    await memory.link(b"d/a", b"d/b")
    async with drives(ttl=0) as drive:
        await drive.names(b"d")
        ino = await inode(drive, b"d/a")
        for name in (b"d/a", b"d/b"):
            await memory.remove(name)
        await memory.rmdir(b"d")
        assert await drive.stat(b"d") is None
        assert await drive.mirror._ledger.get(ino) is None
