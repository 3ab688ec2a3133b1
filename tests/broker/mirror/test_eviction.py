"""Eviction: least recently used first, never what is dirty or in use, never read as zeros, whatever is killed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import itertools
import mmap
import os
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from remotes.memory import Memory
from remotes.plans import Plan

from broker.mirror import content as content_module
from broker.mirror import evicting
from broker.mirror.eviction import FREE_MOST, Eviction, Limits
from broker.mirror.records import Record
from broker.mirror.usage import Usage
from broker.remotes.protocol import Unavailable

from .drive import WRITE, Drive, Drives, store

SIZE = 100_000
ROOM = 102_400
"""What a file of that size takes on disk."""
NAMES = [b"a", b"b", b"c", b"d", b"e"]

sizes = st.integers(0, 1 << 50)


@given(st.integers(1, 1 << 50), st.none() | sizes, sizes, sizes, sizes, sizes)
def test_what_has_to_go(size: int, keep_free: int | None, clean: int, free: int, total: int, wanted: int) -> None:
    """Nothing within the limits; else as much as brings it within them, or all there is."""
    limits = Limits(size, keep_free)
    excess = limits.excess(clean, free, total, wanted)
    over = max(clean + wanted - size, limits.kept_free(total) + wanted - free)
    assert 0 <= excess <= clean
    assert (excess > 0) == (over > 0 and clean > 0)
    assert over <= 0 or excess >= min(over, clean)


@given(sizes)
def test_the_usual_room(total: int) -> None:
    """A small disk is not kept empty for a rule made for large ones."""
    assert Limits(1).kept_free(total) == min(FREE_MOST, total // 20)


class Cache:
    """A cache of one mirror or two, with files of the remote as `content` makes them."""

    def __init__(self, base: Path, memory: Memory, plan: Plan) -> None:
        self.base = base
        self.drives = self.mirror("one", memory, plan)

    def mirror(self, name: str, memory: Memory, plan: Plan) -> Drives:
        directory = self.base / "mirrors" / name
        directory.mkdir(parents=True)
        return Drives(str(directory), memory, plan)

    @contextlib.asynccontextmanager
    async def session(
        self, limit: int, drives: Drives | None = None, *, fetching: bool = False
    ) -> AsyncIterator[tuple[Drive, Eviction]]:
        """A session whose cache may hold so many bytes; `fetching`: fetches make room by themselves."""
        drives = drives or self.drives
        eviction = Eviction(str(self.base), Limits(limit, 0))
        async with drives(room=eviction if fetching else None) as drive:
            eviction.add(drives.directory, drive.mirror.store)
            try:
                yield drive, eviction
            finally:
                await eviction.close()


@pytest.fixture
def cache(tmp_path: Path, memory: Memory, plan: Plan) -> Iterator[Cache]:
    cache = Cache(tmp_path, memory, plan)
    yield cache
    assert not cache.drives.open


def content(name: bytes) -> bytes:
    return random.Random(name).randbytes(SIZE)


async def fill(memory: Memory, *names: bytes) -> None:
    for name in names:
        await store(memory, name, content(name))


async def held(drive: Drive, *names: bytes) -> set[bytes]:
    """The names of those files whose content is in the mirror, on record and on disk alike."""
    found = set()
    for name in names:
        status = os.lstat(drive.mirror.tree.real(name))
        record = await drive.mirror._ledger.get(status.st_ino)
        assert record is not None
        assert (status.st_blocks > 0) == record.hydrated
        if record.hydrated:
            found.add(name)
    return found


async def read(drive: Drive, *names: bytes) -> None:
    for name in names:
        assert await drive.read(name) == content(name)


async def test_least_recently_used_goes_first(cache: Cache, memory: Memory) -> None:
    """By use, not by fetch; and what went is a placeholder that shows what it has shown, and can be read again."""
    await fill(memory, *NAMES)
    async with cache.session(3 * ROOM) as (drive, eviction):
        await read(drive, *NAMES, b"a")
        before = os.lstat(drive.mirror.tree.real(b"b"))
        assert await eviction.evict() >= 2 * ROOM
        assert await held(drive, *NAMES) <= {b"a", b"e"}
        after = os.lstat(drive.mirror.tree.real(b"b"))
        for field in ("st_ino", "st_mode", "st_size", "st_mtime_ns", "st_nlink", "st_uid"):
            assert getattr(before, field) == getattr(after, field)
        assert drive.mirror.shown(b"b", after.st_ino).blocks
        await read(drive, *NAMES)
        assert await eviction.evict() > 0
        assert await eviction.evict() == 0


async def test_a_fetch_makes_room(cache: Cache, memory: Memory) -> None:
    """Reading on and on never holds much more than the limit; a file larger than that still works."""
    names = [b"%d" % number for number in range(20)]
    await fill(memory, *names)
    await store(memory, b"large", content(b"large") * 10)
    async with cache.session(4 * ROOM, fetching=True) as (drive, eviction):
        for name in names:
            await read(drive, name)
            if eviction._looking:
                await eviction._looking
            assert len(await held(drive, *names[: int(name) + 1])) <= 4
        assert await drive.read(b"large") == content(b"large") * 10
        await eviction.evict()
        assert await held(drive, b"large") == set()
        assert await drive.read(b"large") == content(b"large") * 10


async def test_what_is_in_use_stays(cache: Cache, memory: Memory, plan: Plan) -> None:
    """Open here or in another session, mapped, being written, or not pushed yet; whatever the limit."""
    await fill(memory, *NAMES)
    async with cache.session(1) as (drive, eviction), cache.session(1) as (other, _):
        opened = await drive.open(b"a")
        elsewhere = await other.open(b"b")
        mapped = await drive.open(b"c")
        view = mmap.mmap(mapped, 0, prot=mmap.PROT_READ)
        os.close(mapped)
        writing = await drive.open(b"d", os.O_WRONLY)
        failing = await drive.open(b"f", WRITE)
        os.write(failing, content(b"f"))
        plan.fail("write", times=100)
        with pytest.raises(Unavailable):
            await drive.close(failing)
        await read(drive, b"e")
        await eviction.evict()
        assert await held(drive, *NAMES, b"f") == {b"a", b"b", b"c", b"d", b"f"}
        assert os.pread(opened, SIZE, 0) == content(b"a")
        assert os.pread(elsewhere, SIZE, 0) == content(b"b")
        assert view[:] == content(b"c")
        for file in (opened, elsewhere, writing):
            os.close(file)
        view.close()
        plan._rules.clear()
        await drive.flush()
        await read(drive, b"f")
        await eviction.evict()
        assert await held(drive, *NAMES[:3]) == set()


async def test_asking_takes_no_lock(cache: Cache, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flock(2) with LOCK_NB, of a program that has the file open, does not meet one of ours."""
    await fill(memory, b"a")
    async with cache.session(1) as (drive, _):
        file = await drive.open(b"a")
        ino = os.fstat(file).st_ino
        locked = []
        flock = fcntl.flock

        def noted(file: int, operation: int) -> None:
            locked.append(os.fstat(file).st_ino)
            flock(file, operation)

        monkeypatch.setattr(fcntl, "flock", noted)
        assert await evicting.empty(drive.mirror.store, ino, b"a") == 0
        os.close(file)
        assert await evicting.empty(drive.mirror.store, ino, b"a")
        assert ino not in locked


async def test_files_that_were_renamed_or_are_not_noted(cache: Cache, memory: Memory) -> None:
    """The notes of a killed session are lost, and names change: the tree knows."""
    await fill(memory, *NAMES)
    async with cache.session(1) as (drive, eviction):
        await read(drive, b"a", b"b")
        drive.mirror.store.usage._notes.clear()
        await read(drive, b"c", b"d")
        await drive.rename(b"c", b"z")
        await drive.rename(b"d", b"c")
        assert await eviction.evict() >= 4 * ROOM
        assert await held(drive, b"a", b"b", b"c", b"z") == set()
        await read(drive, b"a")
        assert await drive.read(b"z") == content(b"c")


async def two_mirrors(cache: Cache, plan: Plan) -> tuple[Drives, Drives]:
    """Of two remotes that have all files."""
    one, two = Memory(), Memory()
    await fill(one, *NAMES)
    await fill(two, *NAMES)
    return cache.mirror("first", one, plan), cache.mirror("second", two, plan)


async def test_mirrors_that_are_not_mounted_give_room(cache: Cache, plan: Plan) -> None:
    """The limit is that of all mirrors together, and the oldest content goes wherever it is."""
    first, second = await two_mirrors(cache, plan)
    async with cache.session(1 << 40, first) as (drive, _):
        await read(drive, *NAMES)
    async with cache.session(6 * ROOM, second) as (drive, eviction):
        await read(drive, *NAMES)
        await eviction.evict()
        assert await held(drive, *NAMES) == set(NAMES)
    async with cache.session(1 << 40, first) as (drive, _):
        assert await held(drive, *NAMES) <= {b"e"}
        await read(drive, *NAMES)


async def test_a_broken_mirror_beside(cache: Cache, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ledger cannot be read: the others keep to the limit nevertheless."""
    broken, sound = await two_mirrors(cache, plan)
    async with cache.session(1 << 40, broken) as (drive, _):
        await read(drive, *NAMES)
    clean_bytes = Usage.clean_bytes

    async def unless_broken(usage: Usage) -> int:
        if usage._path.startswith(broken.directory):
            raise sqlite3.DatabaseError("malformed")
        return await clean_bytes(usage)

    monkeypatch.setattr(Usage, "clean_bytes", unless_broken)
    async with cache.session(2 * ROOM, sound) as (drive, eviction):
        await read(drive, *NAMES)
        await eviction.evict()
        assert await held(drive, *NAMES) == {b"d", b"e"}


async def test_sessions_evict_at_once(cache: Cache, memory: Memory) -> None:
    """One does it; who needs room waits for that."""
    await fill(memory, *NAMES)
    async with cache.session(2 * ROOM) as (drive, eviction), cache.session(2 * ROOM) as (other, second):
        await read(drive, *NAMES)
        freed = await asyncio.gather(eviction.evict(), second.evict(), second.make_room(SIZE, full=True))
        assert freed[0] > 0 and not freed[1]
        await read(other, *NAMES)


class Killed(BaseException):
    """Stands for kill -9: nothing is put right after it."""


@pytest.mark.parametrize("step", ["on record", "asked again", "hollow", "done"])
async def test_killed_while_evicting(
    cache: Cache, memory: Memory, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """After any step: the next session shows the size and times that were, and the content, and never zeros."""
    await fill(memory, *NAMES)
    with pytest.raises(Killed):
        async with cache.session(1) as (drive, eviction):
            await read(drive, *NAMES)
            before = os.lstat(drive.mirror.tree.real(b"a"))
            kill(monkeypatch, step)
            await eviction.evict()
    monkeypatch.undo()
    async with cache.session(1 << 40) as (drive, _):
        status = await drive.stat(b"a")
        assert status is not None
        assert (status.st_size, status.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        await read(drive, *NAMES)
        assert os.lstat(drive.mirror.tree.real(b"a")).st_mtime_ns == before.st_mtime_ns


def kill(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Let the eviction of the first file end in that step."""
    hollow_out, questions = evicting._hollow_out, itertools.count()

    def ask(file: int) -> bool:
        if step == "on record" and next(questions):
            raise Killed
        return False

    def hollow(file: int) -> None:
        if step == "hollow":
            os.truncate(b"/proc/self/fd/%d" % file, 0)
        elif step == "done":
            hollow_out(file)
        raise Killed

    monkeypatch.setattr(evicting, "_in_use", ask)
    monkeypatch.setattr(evicting, "_hollow_out", hollow)


async def test_opened_while_it_is_being_evicted(cache: Cache, memory: Memory) -> None:
    """Who opens it is seen, or finds on record that there is no content, and fetches it; never are there zeros."""
    await fill(memory, *NAMES)
    async with cache.session(1) as (drive, eviction), cache.session(1) as (other, _):
        for number in range(200):
            reader = (drive, other)[number % 2]
            await asyncio.gather(read(reader, b"a"), eviction.evict(), read(drive, b"b"))


async def test_opened_between_the_record_and_the_question(
    cache: Cache, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its content, and the record says so."""
    await fill(memory, b"a")
    async with cache.session(1) as (drive, eviction):
        await read(drive, b"a")
        files: list[int] = []
        put = drive.mirror._ledger.put

        async def opening(*records: Record) -> None:
            await put(*records)
            if not files:
                files.append(drive.mirror.tree.open(b"a", os.O_RDONLY))

        monkeypatch.setattr(drive.mirror._ledger, "put", opening)
        assert await eviction.evict() == 0
        assert await held(drive, b"a") == {b"a"}
        assert os.pread(files[0], SIZE, 0) == content(b"a")
        os.close(files[0])


async def test_a_full_disk_makes_room_for_a_fetch(
    cache: Cache, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC in the middle of a fetch takes older content, and is the program's only when there is none left."""
    await fill(memory, *NAMES)
    async with cache.session(1 << 40, fetching=True) as (drive, _):
        await read(drive, b"a", b"b")
        refusals, keep = [None] * 2, content_module._store

        def full(file: int, data: bytes, offset: int) -> None:
            if refusals:
                refusals.pop()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            keep(file, data, offset)

        monkeypatch.setattr(content_module, "_store", full)
        await read(drive, b"c")
        assert await held(drive, b"a", b"b", b"c") == {b"c"}
        refusals += [None] * 100
        with pytest.raises(OSError) as raised:
            await read(drive, b"d")
        assert raised.value.errno == errno.ENOSPC
        refusals.clear()
        await read(drive, *NAMES)


async def test_a_clock_that_was_set_back(cache: Cache, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is used after that is still what was used last."""
    await fill(memory, *NAMES)
    async with cache.session(3 * ROOM) as (drive, eviction):
        await read(drive, b"a", b"b")
        await drive.mirror.store.usage.save()
        clock = [time.time_ns() - 10**18]
        monkeypatch.setattr(time, "time_ns", lambda: clock[0])
        await read(drive, b"c", b"d")
        clock[0] += 30 * 10**9  # notes are not put on record at once
        await eviction.evict()
        assert await held(drive, b"a", b"b", b"c", b"d") <= {b"c", b"d"}


async def test_a_ledger_that_says_too_much(cache: Cache, memory: Memory) -> None:
    """A file that has lost its content although it is on record is fetched, not shown as zeros."""
    await fill(memory, b"a")
    async with cache.session(1 << 40) as (drive, _):
        await read(drive, b"a")
        real = drive.mirror.tree.real(b"a")
        os.truncate(real, 0)
        os.truncate(real, SIZE)
        await read(drive, b"a")


async def test_content_that_is_there_after_all(cache: Cache, memory: Memory, plan: Plan) -> None:
    """What an eviction that was killed has left is looked at, not fetched again."""
    await fill(memory, b"a")
    async with cache.session(1 << 40) as (drive, _):
        await read(drive, b"a")
        ledger, ino = drive.mirror._ledger, os.lstat(drive.mirror.tree.real(b"a")).st_ino
        record = await ledger.get(ino)
        assert record is not None
        await ledger.put(replace(record, hydrated=False))
        fetches = plan.count("read")
        await read(drive, b"a")
        assert plan.count("read") == fetches


async def test_no_look_outlives_the_session(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that began while another was going on is ended as well: what it works with is closed next."""
    looks = asyncio.Queue[asyncio.Event]()
    ended: list[asyncio.Event] = []

    async def evict(self: Eviction) -> int:
        leave = asyncio.Event()
        looks.put_nowait(leave)
        try:
            await leave.wait()
        finally:
            ended.append(leave)
        return 0

    monkeypatch.setattr(Eviction, "evict", evict)
    monkeypatch.setattr("broker.mirror.eviction._FIRST", 0)
    async with cache.session(SIZE) as (_, eviction):
        eviction.start()
        first = await looks.get()
        eviction.fetched(SIZE)
        second = await looks.get()
        first.set()
        for _ in range(3):
            await asyncio.sleep(0)
        assert ended == [first]
    assert ended == [first, second]


async def test_a_short_session_looks_at_its_end(cache: Cache, memory: Memory) -> None:
    """It leaves the cache within its limit, like one that has looked from time to time."""
    await fill(memory, *NAMES)
    async with cache.session(3 * ROOM) as (drive, eviction):
        await read(drive, *NAMES)
        eviction.start()
    async with cache.session(SIZE) as (drive, _):
        assert len(await held(drive, *NAMES)) < len(NAMES)
