"""Conflicts: somebody else has changed what was written here; both contents stay, and the user is told."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remotes.memory import Memory
from remotes.plans import Moment, Plan

from broker.mirror.conflicts import conflict_name
from broker.remotes.paths import NAME_MAX, valid_name
from broker.remotes.protocol import Unavailable, VersionChanged

from .drive import WRITE, Drive, Drives, calling, content_of, opening, settled, store, tree_of


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
            await drive.pushed(file, durable=True)
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
