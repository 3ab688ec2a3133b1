"""Placing: the mirror's nodes follow those of a remote, even one that lies, and lead nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from remotes.memory import ALL, Memory
from remotes.plans import Plan

from broker.errors import errno_of
from broker.mirror import making
from broker.mirror.records import Record
from broker.remotes.protocol import Attributes, BadAnswer, Changes, Entry, Version

from .drive import WRITE, Drives, calling, content_of, opening, store


async def test_a_lookup_makes_a_placeholder(drives: Drives, memory: Memory) -> None:
    """With the size, mode and time of the remote's file, no content, and the blocks and links of the whole."""
    await store(memory, b"f", b"x" * 10_000, mode=0o640, mtime_ns=10**18)
    async with drives() as drive:
        found = await drive.stat(b"f")
        assert found is not None
        assert (found.st_size, found.st_mode, found.st_mtime_ns) == (10_000, stat.S_IFREG | 0o640, 10**18)
        assert found.st_blocks == 0
        shown = drive.mirror.shown(b"f", found.st_ino)
        assert (shown.blocks, shown.nlink, shown.set_id) == (20, 1, 0)
        await drive.read(b"f")
        assert drive.mirror.shown(b"f", found.st_ino).blocks is None
        assert memory.reads == 1


async def test_links_of_a_folder_that_was_not_listed(drives: Drives, memory: Memory) -> None:
    """Its subfolders are not in the mirror yet: the remote's count is shown until they are."""
    await memory.mkdir(b"d", Changes(mode=0o755))
    async with drives() as drive:
        found = await drive.stat(b"d")
        assert found is not None
        assert drive.mirror.shown(b"d", found.st_ino).nlink == 1
        await drive.names(b"d")
        assert drive.mirror.shown(b"d", found.st_ino).nlink is None


async def test_shown_even_while_another_session_is_busy(drives: Drives, memory: Memory) -> None:
    """A placeholder does not lose its blocks when another session changes the ledger in between."""
    await store(memory, b"f", b"x" * 10_000)
    async with drives() as drive, drives() as other:
        found = await drive.stat(b"f")
        assert found is not None
        await other.write(b"g", b"")
        assert drive.mirror.shown(b"f", found.st_ino).blocks == 20


async def test_set_id_bits_are_shown_and_never_had(drives: Drives, memory: Memory) -> None:
    """The remote's set-id bits are known, but no inode of the mirror has them."""
    await store(memory, b"f", b"", mode=0o6755)
    async with drives() as drive:
        found = await drive.stat(b"f")
        assert found is not None and stat.S_IMODE(found.st_mode) == 0o755
        assert drive.mirror.shown(b"f", found.st_ino).set_id == 0o6000


async def test_a_folder_has_the_remotes_times(drives: Drives, memory: Memory) -> None:
    """Also when placeholders were made, replaced and removed in it."""
    await store(memory, b"d/a", b"")
    await store(memory, b"d/b", b"")
    await memory.set_attributes(b"d", Changes(mtime_ns=10**18))
    async with drives(ttl=0) as drive:
        await drive.names(b"d")
        await memory.remove(b"d/a")
        await store(memory, b"d/b", b"new")
        await memory.set_attributes(b"d", Changes(mtime_ns=10**18))
        for look in (lambda: drive.names(b"d"), lambda: drive.stat(b"d/b"), lambda: drive.read(b"d/b")):
            await look()
            found = await drive.stat(b"d")
            assert found is not None and found.st_mtime_ns == 10**18


async def test_what_is_dirty_is_never_taken_away(drives: Drives, memory: Memory) -> None:
    """A file being written survives the removal of its name, of its folder, and another node in its place."""
    await store(memory, b"d/f", b"old")
    async with drives(ttl=0) as drive:
        await drive.names(b"d")
        file = await drive.open(b"d/f", os.O_WRONLY)
        os.write(file, b"new")
        await memory.remove(b"d/f")
        assert await drive.stat(b"d/f") is not None
        assert await drive.names(b"d") == {b"f"}
        await memory.rmdir(b"d")
        assert await drive.stat(b"d") is not None
        await store(memory, b"d", b"a file now")
        found = await drive.stat(b"d")
        assert found is not None and stat.S_ISDIR(found.st_mode)
        assert os.pread(os.open(drive.mirror.tree.real(b"d/f"), os.O_RDONLY), 9, 0) == b"new"
        os.close(file)


async def test_a_locked_file_keeps_its_inode(drives: Drives, memory: Memory) -> None:
    """Who has locked a file that changes on the remote would otherwise be alone with his lock."""
    await store(memory, b"f", b"old")
    async with drives(ttl=0) as drive:
        file = await drive.open(b"f")
        fcntl.flock(file, fcntl.LOCK_SH)
        await store(memory, b"f", b"new!")
        found = await drive.stat(b"f")
        assert found is not None and found.st_ino == os.fstat(file).st_ino
        os.close(file)
        assert await drive.read(b"f") == b"new!"


async def test_hard_links_share_an_inode(drives: Drives, memory: Memory) -> None:
    """Two names of one file on the remote are two of one in the mirror, in one listing or looked up apart."""
    await store(memory, b"d/a", b"1")
    await memory.link(b"d/a", b"d/b")
    await memory.link(b"d/a", b"c")
    async with drives(ttl=0) as drive:
        await drive.names(b"d")
        found = [await drive.stat(path) for path in (b"d/a", b"d/b", b"c")]
        assert len({status and status.st_ino for status in found}) == 1
        await store(memory, b"c", b"22")
        found = [await drive.stat(path) for path in (b"d/a", b"d/b", b"c")]
        assert [status and status.st_size for status in found] == [2, 2, 2]
        assert len({status and status.st_ino for status in found}) == 1


async def test_another_name_of_a_dirty_file_leaves_it_dirty(drives: Drives, memory: Memory) -> None:
    """Finding a second name does not overwrite what is on record of the first."""
    await store(memory, b"a", b"1")
    await memory.link(b"a", b"b")
    async with drives(ttl=0) as drive:
        file = await drive.open(b"a", os.O_WRONLY)
        os.write(file, b"dirty")
        found = await drive.stat(b"b")
        assert found is not None
        assert await drive.dirty() >= {os.fstat(file).st_ino}
        await drive.close(file)
        await drive.flush()
        assert content_of(memory, b"a") == b"dirty"


class Lying(Memory):
    """A remote that says what a test wants."""

    def __init__(self) -> None:
        super().__init__(ALL)
        self.entries: list[Entry] = []
        self.stats: dict[bytes, Attributes] = {}

    async def stat(self, path: bytes) -> Attributes:
        return self.stats.get(path) or await super().stat(path)

    async def list(self, path: bytes) -> AsyncIterator[Sequence[Entry]]:
        yield self.entries


def entry(name: bytes, **others: Any) -> Entry:
    plain = Attributes(Version("v"), stat.S_IFREG | 0o644, 0, 0, 0, uid=0, gid=0)
    return Entry(name, replace(plain, **others))


LIES = {
    "dot": [entry(b".")],
    "dot dot": [entry(b"..")],
    "path": [entry(b"a/b")],
    "way out": [entry(b"../../escaped")],
    "absolute": [entry(b"/tmp/escaped")],
    "NUL": [entry(b"a\0b")],
    "empty": [entry(b"")],
    "too long": [entry(b"a" * 256)],
    "twice": [entry(b"a"), entry(b"a")],
    "negative size": [entry(b"a", size=-1)],
    "enormous size": [entry(b"a", size=1 << 63)],
    "empty target": [entry(b"a", mode=stat.S_IFLNK | 0o777, target=b"")],
    "no target": [entry(b"a", mode=stat.S_IFLNK | 0o777)],
    "NUL in target": [entry(b"a", mode=stat.S_IFLNK | 0o777, target=b"x\0y")],
    "long target": [entry(b"a", mode=stat.S_IFLNK | 0o777, target=b"x" * 4096)],
}


@pytest.mark.parametrize("entries", LIES.values(), ids=LIES)
async def test_a_listing_that_no_folder_has_is_refused(drives: Drives, entries: list[Entry]) -> None:
    """It is EIO, with the name in the message, and nothing of it is made, in the mirror or elsewhere."""
    remote = Lying()
    remote.entries = entries
    async with drives(remote=remote) as drive:
        with pytest.raises(BadAnswer) as caught:
            await drive.names()
        assert errno_of(caught.value) == errno.EIO and str(caught.value)
        assert os.listdir(drive.mirror.tree.root) == []
    assert not os.path.lexists(os.path.join(drives.directory, "escaped"))


async def test_what_the_cache_cannot_hold_is_left_out(drives: Drives, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device, for a user who may make none, and a file beyond the file system's limit: the rest of the folder is
    there, and these names are not."""

    place = making.place

    def without_privilege(folder: int, nodes: Sequence[Any], owners: bool, seconds: float) -> list[int]:
        return [-errno.EPERM] if stat.S_ISCHR(nodes[0][1].mode) else place(folder, nodes[:1], owners, seconds)

    monkeypatch.setattr(making, "place", without_privilege)
    remote = Lying()
    remote.entries = [
        entry(b"a"),
        entry(b"device", mode=stat.S_IFCHR | 0o600, rdev=259),
        entry(b"huge", size=(1 << 63) - 1),
        entry(b"z"),
    ]
    remote.stats = {each.name: each.attributes for each in remote.entries}
    async with drives(remote=remote) as drive:
        assert await drive.names() == {b"a", b"z"}
        assert await drive.stat(b"device") is None and await drive.stat(b"huge") is None
        assert sorted(os.listdir(drive.mirror.tree.root)) == [b"a", b"z"]


@pytest.mark.parametrize("size", [-1, 1 << 63])
async def test_an_impossible_answer_is_refused(drives: Drives, size: int) -> None:
    """By a lookup as by a listing."""
    remote = Lying()
    remote.stats[b"a"] = entry(b"a", size=size).attributes
    async with drives(remote=remote) as drive:
        with pytest.raises(BadAnswer):
            await drive.stat(b"a")
        assert os.listdir(drive.mirror.tree.root) == []


async def test_a_folder_that_becomes_a_symlink_leads_nowhere(drives: Drives, tmp_path: Any) -> None:
    """While a folder is being listed the remote makes a symlink of it: what that leads to is neither listed,
    changed nor removed."""
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    (home / "precious").write_bytes(b"1")
    remote = Lying()
    await remote.mkdir(b"d", Changes(mode=0o755))
    async with drives(remote=remote, ttl=0) as drive:
        await drive.stat(b"d")
        remote.stats[b"d"] = entry(
            b"d", version=Version("2"), mode=stat.S_IFLNK | 0o777, target=os.fsencode(home)
        ).attributes
        remote.entries = [entry(b"new"), entry(b"precious", size=5)]
        remote.stats[b"d/precious"] = entry(b"precious", version=Version("3"), size=5).attributes
        remote.stats[b"d/other"] = entry(b"other", version=Version("3"), size=5).attributes
        assert await drive.stat(b"d") is not None
        assert os.path.islink(drive.mirror.tree.real(b"d"))
        with pytest.raises(NotADirectoryError):
            await drive.mirror.listing(b"d")
        for name in (b"d/precious", b"d/other", b"d/sub"):
            await drive.mirror.look(name)
        with pytest.raises(OSError):
            await drive.mirror.unlink(b"d/precious", calling(os.unlink))
        with pytest.raises(OSError):
            await drive.mirror.open(b"d/fresh", WRITE, opening())
    assert sorted(os.listdir(home)) == ["precious", "sub"]
    assert (home / "precious").read_bytes() == b"1"


@pytest.mark.parametrize("change", ["unlink", "rename"])
async def test_a_listing_brings_nothing_back(drives: Drives, memory: Memory, plan: Plan, change: str) -> None:
    """What is being removed, and the remote still has, is not made anew by a listing, in either session."""
    for name in (b"d/a", b"d/b"):
        await store(memory, name, b"content")
    async with drives() as drive, drives() as other:
        gate = plan.hold("remove" if change == "unlink" else "rename")
        work = drive.unlink(b"d/a") if change == "unlink" else drive.rename(b"d/a", b"c")
        changing = asyncio.ensure_future(work)
        await gate.reached
        listings = [asyncio.ensure_future(each.names(b"d")) for each in (drive, other)]
        await asyncio.sleep(0.05)
        gate.open()
        await changing
        for listing in listings:
            assert await listing == {b"b"}
        for each in (drive, other):
            assert await each.stat(b"d/a") is None
        there = await drive.stat(b"d/b")
        ledger = sqlite3.connect(os.path.join(drives.directory, "ledger.sqlite"))
        rows = {ino for (ino,) in ledger.execute("SELECT ino FROM node WHERE size = 7")}
        ledger.close()
        moved = await drive.stat(b"c")
        assert rows == {status.st_ino for status in (there, moved) if status}


async def test_what_is_removed_before_it_is_on_record(
    drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that another session renames while a listing fills it: what is unlinked there leaves no record behind,
    and what stays keeps its own."""
    await store(memory, b"d/gone", b"")
    await store(memory, b"d/stays", b"")
    async with drives() as drive, drives() as other:
        ledger = drive.mirror._ledger
        add = ledger.add

        async def late(*records: Record) -> None:
            if len(records) == 2:
                await other.rename(b"d", b"e")
                await other.unlink(b"e/gone")
            await add(*records)

        monkeypatch.setattr(ledger, "add", late)
        await drive.stat(b"d")
        with contextlib.suppress(FileNotFoundError):
            await drive.mirror.listing(b"d")
        present = {status.st_ino for _, status in drive.mirror.tree.walk()}
        rows = await ledger.run(lambda database: [ino for (ino,) in database.execute("SELECT ino FROM node")])
        assert set(rows) - {os.lstat(drive.mirror.tree.root).st_ino} == present
        assert await drive.names(b"e") == {b"stays"}
