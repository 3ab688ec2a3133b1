"""Looking up: the mirror agrees with the remote when asked, asks no more than it must, and believes no nonsense."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from remotes.memory import ALL, Memory
from remotes.plans import Gate, Moment, Plan

from broker.errors import errno_of
from broker.remotes.protocol import Attributes, BadAnswer, Changes, Entry, Unavailable, Version

from .drive import FOREVER, WRITE, Drives, calling, content_of, opening, store


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
        assert drive.mirror.shown(b"d", found.st_ino).nlink == 2
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


async def test_within_the_ttl_nothing_is_asked_twice(drives: Drives, memory: Memory, plan: Plan) -> None:
    """Neither what is there nor what is not; nor after a listing any of its names."""
    await store(memory, b"d/f", b"")
    async with drives() as drive:
        for _ in range(3):
            assert await drive.stat(b"d") is not None
            assert await drive.stat(b"none") is None
        assert (plan.count("stat", b"d"), plan.count("stat", b"none")) == (1, 1)
        for _ in range(3):
            assert await drive.names(b"d") == {b"f"}
        asked = plan.count("stat")
        assert await drive.stat(b"d/f") is not None
        assert await drive.stat(b"d/other") is None
        assert drive.mirror.known_directory(b"d")
        assert not drive.mirror.known_directory(b"d/f")
        assert (plan.count("stat"), plan.count("list")) == (asked, 1)


async def test_after_the_ttl_changes_are_seen(drives: Drives, memory: Memory) -> None:
    """Names made and removed, and attributes and kinds changed, on the remote."""
    await store(memory, b"d/gone", b"1")
    await store(memory, b"d/kind", b"1")
    await store(memory, b"d/kept", b"1")
    async with drives(ttl=0) as drive:
        assert await drive.names(b"d") == {b"gone", b"kept", b"kind"}
        for path in (b"d/gone", b"d/kind"):
            await memory.remove(path)
        await memory.mkdir(b"d/kind", Changes(mode=0o711))
        await memory.set_attributes(b"d/kept", Changes(mode=0o600))
        await store(memory, b"d/new", b"12")
        assert await drive.stat(b"d/gone") is None
        found = {name: await drive.stat(b"d/" + name) for name in (b"kind", b"kept", b"new")}
        assert [status and (status.st_mode, status.st_size) for status in found.values()][1:] == [
            (stat.S_IFREG | 0o600, 1),
            (stat.S_IFREG | 0o644, 2),
        ]
        assert found[b"kind"] is not None and found[b"kind"].st_mode == stat.S_IFDIR | 0o711
        await memory.rmdir(b"d/kind")
        assert await drive.names(b"d") == {b"kept", b"new"}


async def test_a_time_between(drives: Drives, memory: Memory) -> None:
    """The ttl is one: before it the old answer, after it the new one."""
    async with drives(ttl=0.2) as drive:
        assert await drive.stat(b"f") is None
        await store(memory, b"f", b"")
        assert await drive.stat(b"f") is None
        await asyncio.sleep(0.25)
        assert await drive.stat(b"f") is not None


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


async def test_many_ask_once(drives: Drives, memory: Memory, plan: Plan) -> None:
    """Lookups and listings of one name at the same time are one request."""
    await store(memory, b"d/f", b"")
    async with drives() as drive:
        await asyncio.gather(*(drive.stat(b"d") for _ in range(20)))
        await asyncio.gather(*(drive.names(b"d") for _ in range(20)))
        assert (plan.count("stat", b"d"), plan.count("list")) == (2, 1)


async def test_a_caller_that_goes_away_takes_nobody_with_it(drives: Drives, memory: Memory, plan: Plan) -> None:
    """Whoever waits for the same answer gets it although the first one was cancelled."""
    await store(memory, b"f", b"")
    async with drives() as drive:
        gate = plan.hold("stat", path=b"f")
        first = asyncio.ensure_future(drive.stat(b"f"))
        await gate.reached
        second = asyncio.ensure_future(drive.stat(b"f"))
        await asyncio.sleep(0)
        first.cancel()
        gate.open()
        assert await second is not None


async def test_an_error_is_everybodys_and_not_remembered(drives: Drives, memory: Memory, plan: Plan) -> None:
    """The next lookup asks again."""
    await store(memory, b"f", b"")
    async with drives() as drive:
        gate = plan.hold("stat", path=b"f")
        plan.fail("stat", path=b"f", moment=Moment.AFTER)
        looking = [asyncio.ensure_future(drive.stat(b"f")) for _ in range(3)]
        await gate.reached
        gate.open()
        found = await asyncio.gather(*looking, return_exceptions=True)
        assert all(isinstance(each, Unavailable) for each in found)
        assert await drive.stat(b"f") is not None


async def test_an_open_does_not_take_an_older_answer(drives: Drives, memory: Memory, plan: Plan) -> None:
    """Close-to-open: a lookup that was on its way when the file changed does not serve an open after the change."""
    await store(memory, b"f", b"old")
    async with drives(ttl=0) as drive:
        assert await drive.read(b"f") == b"old"
        gate = plan.hold("stat", path=b"f", moment=Moment.AFTER)
        looking = asyncio.ensure_future(drive.stat(b"f"))
        await gate.reached
        await store(memory, b"f", b"new!")
        reading = asyncio.ensure_future(drive.read(b"f"))
        await asyncio.sleep(0.01)
        gate.open()
        assert await reading == b"new!"
        await looking


class Late(Memory):
    """Answers of stat, good or bad, that are held back when they are known."""

    def __init__(self) -> None:
        super().__init__(ALL)
        self.gates: dict[bytes, Gate] = {}

    async def stat(self, path: bytes) -> Attributes:
        try:
            return await super().stat(path)
        finally:
            if gate := self.gates.pop(path, None):
                gate.reached.set()
                await gate.opened


@pytest.mark.parametrize("other_session", [False, True])
async def test_an_old_answer_does_not_undo_a_change(drives: Drives, other_session: bool) -> None:
    """An answer from before an unlink, a chmod or a creation makes no ghost, and hides and reverts nothing."""
    remote = Late()
    for name in (b"gone", b"changed"):
        await store(remote, name, b"1")
    async with drives(remote=remote) as drive, drives(remote=remote) as other:
        acting = other if other_session else drive
        for name in (b"gone", b"changed", b"made"):
            await acting.stat(name)
        drive.mirror._lookup._ttl = 0
        remote.gates = gates = {name: Gate() for name in (b"gone", b"changed", b"made")}
        gates = dict(gates)
        looking = [asyncio.ensure_future(drive.stat(name)) for name in gates]
        for gate in gates.values():
            await gate.reached
        drive.mirror._lookup._ttl = FOREVER
        await acting.unlink(b"gone")
        await acting.chmod(b"changed", 0o600)
        await acting.mkdir(b"made")
        status = os.lstat(drive.mirror.tree.real(b"changed"))
        for gate in gates.values():
            gate.open()
        gone, changed, made = await asyncio.gather(*looking)
        assert gone is None
        assert changed is not None and (changed.st_ino, stat.S_IMODE(changed.st_mode)) == (status.st_ino, 0o600)
        assert made is not None and stat.S_ISDIR(made.st_mode)


async def test_a_listing_does_not_undo_a_change(drives: Drives, memory: Memory, plan: Plan) -> None:
    """Names that were made and removed between two pages of a listing are as the program left them."""
    drives.remote._remote._page = 2  # type: ignore[attr-defined]
    for number in range(6):
        await store(memory, b"d/%d" % number, b"")
    async with drives() as drive:
        await drive.stat(b"d")
        gate = plan.hold("list", path=b"d", moment=Moment.BETWEEN)
        listing = asyncio.ensure_future(drive.names(b"d"))
        await gate.reached
        for name in (b"d/0", b"d/5"):
            await drive.stat(name)
            await drive.unlink(name)
        await drive.write(b"d/new", b"")
        gate.open()
        assert await listing == {b"1", b"2", b"3", b"4", b"new"}
        assert await drive.flush() == []


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


COUNT = 100_000


async def test_a_large_listing_leaves_the_loop_free(drives: Drives) -> None:
    """100,000 names: whoever else has something to do never waits for half a second."""
    memory = Memory()
    await memory.mkdir(b"d", Changes(mode=0o755))
    template = memory._new(stat.S_IFREG | 0o644)
    memory._find(b"d").children.update(
        (b"%d" % number, replace(template, ino=10 + number)) for number in range(COUNT)
    )
    gaps = []

    async def tick() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    async with drives(remote=memory) as drive:
        await drive.stat(b"d")
        ticking = asyncio.ensure_future(tick())
        await drive.mirror.listing(b"d")
        ticking.cancel()
        assert len(os.listdir(drive.mirror.tree.real(b"d"))) == COUNT
    assert max(gaps) < 0.5


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


async def test_many_names_of_one_folder_are_listed_anew(
    drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nothing is trusted any more, the first names of a listed folder are asked for singly, not all of them."""
    for number in range(200):
        await store(memory, b"d/%03d" % number, b"")
    asked: list[bytes] = []
    answer = memory.stat

    async def counted(path: bytes) -> Attributes:
        asked.append(path)
        return await answer(path)

    monkeypatch.setattr(memory, "stat", counted)
    async with drives(ttl=0) as drive:
        await drive.names(b"d")
        asked.clear()
        for number in range(200):
            assert await drive.stat(b"d/%03d" % number) is not None
    assert 5 < len([path for path in asked if path.startswith(b"d/")]) < 195
