"""Fetching: content is there before any descriptor is, once for all, and is what the remote said it would be."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from remotes.faults import Faulty
from remotes.memory import ALL, Memory
from remotes.plans import Plan

from broker.errors import errno_of
from broker.mirror import content
from broker.mirror.digests import CHUNK
from broker.mirror.threads import on_thread
from broker.mirror.vouching import NoVouch
from broker.remotes.protocol import BadAnswer, Unavailable, Version
from broker.remotes.witness import Witness

from .drive import WRITE, Drives, content_of, opening, store

LARGE = os.urandom(1000) + b"\0" * (3 * CHUNK) + os.urandom(1000)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK], ids=str)
async def test_all_sizes_arrive(drives: Drives, memory: Memory, size: int) -> None:
    """Around the edges of a chunk."""
    wanted = os.urandom(4096) * (size // 4096 + 1)
    await store(memory, b"f", wanted[:size])
    async with drives() as drive:
        assert await drive.read(b"f") == wanted[:size]


class Witnessed(Faulty):
    """A remote that can be asked without the broker."""

    state = bytearray(8)

    @property
    def witness(self) -> Witness:
        return Witness(folder=0, memory=memoryview(self.state))


class Complete(NoVouch):
    """What may be opened without the broker, as a `Vouch` was told last."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[Version, float]] = {}
        self.states: dict[bytes, tuple[int, Version | None, bytes]] = {}

    def witnessed(self, path: bytes, ino: int, version: Version | None, state: bytes) -> None:
        self.states[path] = ino, version, state

    def complete(self, ino: int, version: Version, until: float) -> None:
        self.known[ino] = version, until

    def node(self, ino: int, nlink: int | None, blocks: int | None, set_id: int, dirty: bool) -> None:
        self.known.pop(ino, None)


async def test_what_is_complete_is_vouched_for(drives: Drives, memory: Memory, plan: Plan) -> None:
    """At the version that was fetched, for a while; not while it is being written, and only with a witness."""
    await store(memory, b"f", b"content")
    told = Complete()
    async with drives(remote=Witnessed(memory, plan), vouch=told) as drive:
        await drive.read(b"f")
        before = time.monotonic()
        await drive.read(b"f")
        [(ino, (version, until))] = told.known.items()
        assert (ino, version) == ((await drive.stat(b"f")).st_ino, (await memory.stat(b"f")).version)
        assert before < until < before + 60
        file = await drive.open(b"f", os.O_RDWR)
        await drive.read(b"f")
        assert not told.known
        os.write(file, b"new")
        await drive.close(file)
        await drive.flush()
        await drive.read(b"f")
        assert told.known[ino][0] == (await memory.stat(b"f")).version != version
    told.known.clear()
    async with drives(remote=memory, vouch=told) as drive:
        await drive.read(b"f")
        assert not told.known


async def test_the_state_of_the_remote_is_that_before_it_was_asked(
    drives: Drives, memory: Memory, plan: Plan
) -> None:
    """What changes while the answer is on its way may not be in it. Also of what is not there."""
    await store(memory, b"f", b"content")
    told, remote = Complete(), Witnessed(memory, plan)
    async with drives(remote=remote, vouch=told) as drive:
        await drive.walk(b"f")
        gate = plan.hold("stat")
        reading = asyncio.ensure_future(drive.read(b"f"))
        await gate.reached
        remote.state[0] += 1
        gate.open()
        await reading
        ino, version = (await drive.stat(b"f")).st_ino, (await memory.stat(b"f")).version
        assert told.states[b"f"] == (ino, version, bytes(8))
        await drive.read(b"f")
        assert told.states[b"f"] == (ino, version, bytes(remote.state))
        with pytest.raises(FileNotFoundError):
            await drive.read(b"g")
        assert told.states[b"g"] == (0, None, bytes(remote.state))


async def test_concurrent_opens_fetch_once(drives: Drives, memory: Memory, plan: Plan) -> None:
    """In one session and in two; later ones not at all; all have the whole content when they return."""
    await store(memory, b"f", b"content")
    async with drives() as drive, drives() as other:
        gate = plan.hold("read")
        reading = [asyncio.ensure_future(each.read(b"f")) for each in (drive, drive, drive, other, other)]
        await gate.reached
        gate.open()
        assert await asyncio.gather(*reading) == [b"content"] * 5
        assert await other.read(b"f") == b"content"
        assert memory.reads == 1


async def test_a_placeholder_is_never_read_as_zeros(drives: Drives, memory: Memory, plan: Plan) -> None:
    """No open returns before the content is there, whatever it is for; and none after a fetch that failed."""
    await store(memory, b"f", b"content")
    async with drives() as drive:
        gate = plan.hold("read")
        opening_ = [asyncio.ensure_future(drive.open(b"f", flags)) for flags in (os.O_RDONLY, os.O_RDWR)]
        await gate.reached
        done, _ = await asyncio.wait(opening_, timeout=0.05)
        assert not done
        plan.disconnect()
        gate.open()
        for failed in await asyncio.gather(*opening_, return_exceptions=True):
            assert isinstance(failed, Unavailable)
        plan.connect()
        assert await drive.read(b"f") == b"content"


async def test_holes_stay_holes(drives: Drives, memory: Memory) -> None:
    """Zeros take no room in the mirror, and times are those of the remote."""
    await store(memory, b"f", LARGE, mtime_ns=10**18, atime_ns=10**18)
    async with drives() as drive:
        assert await drive.read(b"f") == LARGE
        found = os.stat(drive.mirror.tree.real(b"f"))
        assert found.st_blocks * 512 < 1 << 20
        assert found.st_mtime_ns == 10**18


@pytest.mark.parametrize("pattern", ["x", ".", "x.", ".x", "xx..x", "..xx.", ".x.x", "x.s", ".xs", ".0", "x0"])
async def test_only_zeros_are_left_out(drives: Drives, memory: Memory, pattern: str) -> None:
    """Whatever follows what, though all of a block be zeros but its last byte, and though the last one be short."""
    hole = 64 << 10
    blocks = {"x": b"\0" * (hole - 1) + b"x", ".": bytes(hole), "s": b"\0" * 999 + b"s", "0": bytes(999)}
    wanted = b"".join(blocks[each] for each in pattern)
    await store(memory, b"f", wanted)
    async with drives() as drive:
        assert await drive.read(b"f") == wanted
        written = sum(len(blocks[each]) for each in pattern if each in "xs")
        taken = os.stat(drive.mirror.tree.real(b"f")).st_blocks * 512
        assert written <= taken < written + hole


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY])
async def test_a_changed_file_is_fetched_anew(drives: Drives, memory: Memory, flags: int) -> None:
    """Close-to-open: the next open sees it, with a new inode; a descriptor from before keeps what it had."""
    await store(memory, b"f", b"old")
    async with drives() as drive:
        before = await drive.open(b"f")
        await store(memory, b"f", b"new content")
        after = await drive.open(b"f", flags)
        assert os.fstat(after).st_ino != os.fstat(before).st_ino
        assert os.pread(before, 20, 0) == b"old"
        assert await drive.read(b"f") == b"new content"
        os.close(before)
        await drive.close(after)


async def test_a_change_in_the_middle_of_a_fetch_starts_anew(drives: Drives, memory: Memory, plan: Plan) -> None:
    """The open returns one version, never a mixture."""
    await store(memory, b"f", b"a" * (CHUNK + 10))
    async with drives() as drive:
        gate = plan.hold("read")
        reading = asyncio.ensure_future(drive.read(b"f"))
        await gate.reached
        await store(memory, b"f", b"b" * 20)
        gate.open()
        assert await reading == b"b" * 20


async def test_a_fetch_that_fails_half_way_takes_no_room(drives: Drives) -> None:
    """What has come is given back: nobody would evict it. The next open fetches all."""
    whole = os.urandom(CHUNK + 10)

    class Failing(Memory):
        broken = True

        async def read(self, path: bytes, version: Version, offset: int, length: int) -> bytes:
            if offset and self.broken:
                raise Unavailable(path)
            return await super().read(path, version, offset, length)

    remote = Failing()
    await store(remote, b"f", whole)
    async with drives(remote=remote) as drive:
        with pytest.raises(Unavailable):
            await drive.read(b"f")
        status = os.lstat(drive.mirror.tree.real(b"f"))
        assert (status.st_blocks, status.st_size) == (0, len(whole))
        remote.broken = False
        assert await drive.read(b"f") == whole


async def test_a_file_that_seldom_rests_is_opened(drives: Drives, memory: Memory) -> None:
    """A file that another host writes twenty times as it is opened here is opened nevertheless."""
    reads = iter(range(20))

    class Restless(Memory):
        async def read(self, path: bytes, *rest: Any) -> bytes:
            if (number := next(reads, None)) is not None:
                await store(self, path, b"%d" % number)
            return await super().read(path, *rest)

    remote = Restless(ALL)
    await store(remote, b"f", b"1")
    async with drives(remote=remote) as drive:
        assert await drive.read(b"f") == b"19"


async def test_a_file_that_never_rests_is_estale(
    drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open gives up in the end."""
    monkeypatch.setattr("broker.mirror.opening._PATIENCE", 0.1)

    class Restless(Memory):
        async def read(self, path: bytes, *rest: Any) -> bytes:
            await store(self, path, b"other")
            return await super().read(path, *rest)

    remote = Restless(ALL)
    await store(remote, b"f", b"1")
    async with drives(remote=remote) as drive:
        with pytest.raises(OSError) as caught:
            await drive.read(b"f")
        assert caught.value.errno == errno.ESTALE


@pytest.mark.parametrize("real", [b"12345", b"1234567", b""])
async def test_a_size_that_is_not_that_of_the_content(drives: Drives, real: bytes) -> None:
    """Shorter or longer than the listing said: refused, saying so, and not taken for complete later."""

    class Lying(Memory):
        async def read(self, path: bytes, version: Any, offset: int, length: int) -> bytes:
            return real[offset : offset + length]

    remote = Lying(ALL)
    await store(remote, b"f", b"123456")
    async with drives(remote=remote) as drive:
        for _ in range(2):
            with pytest.raises(BadAnswer, match="bytes by its listing") as caught:
                await drive.read(b"f")
            assert errno_of(caught.value) == errno.EIO


async def test_truncation_fetches_nothing(drives: Drives, memory: Memory) -> None:
    """What O_TRUNC throws away need not come."""
    await store(memory, b"f", b"old")
    async with drives() as drive:
        await drive.write(b"f", b"new")
        assert memory.reads == 0
        assert content_of(memory, b"f") == b"new"


async def test_a_truncation_that_came_to_nothing_loses_no_zeros(
    drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A placeholder that was emptied before the open failed is whole when it is fetched, up to its last hole."""
    await store(memory, b"f", b"x" + b"\0" * 200_000)
    async with drives() as drive:

        async def full(ino: int) -> None:
            raise OSError(errno.ENOSPC, "no room is left in the cache")

        with monkeypatch.context() as patch, pytest.raises(OSError):
            patch.setattr(drive.mirror._ledger, "mark_dirty", full)
            await drive.open(b"f", WRITE)
        assert os.stat(drive.mirror.tree.real(b"f")).st_size == 0
        assert await drive.read(b"f") == b"x" + b"\0" * 200_000


async def test_a_cancelled_fetch_writes_into_no_other_file(
    drives: Drives, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descriptor that a thread still writes through is not closed, and its number not given to another file."""
    long = b"content" * 20_000  # so long that a thread stores it
    await store(memory, b"f", long)
    storing, go = threading.Event(), threading.Event()
    store_ = content._store

    def slowly(*arguments: Any) -> None:
        storing.set()
        assert go.wait(10)
        store_(*arguments)

    monkeypatch.setattr(content, "_store", slowly)
    async with drives() as drive:
        reading = asyncio.ensure_future(drive.read(b"f"))
        await asyncio.to_thread(storing.wait)
        reading.cancel()
        await asyncio.sleep(0.01)
        others = [os.memfd_create("other") for _ in range(20)]
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert [os.fstat(other).st_size for other in others] == [0] * 20
        for other in others:
            os.close(other)
        assert await drive.read(b"f") == long


async def test_a_cancelled_fetch_leaves_the_others_theirs(drives: Drives, memory: Memory, plan: Plan) -> None:
    """Whoever waits for the same content fetches it when the first one has gone."""
    await store(memory, b"f", b"content")
    async with drives() as drive:
        gate = plan.hold("read")
        first = asyncio.ensure_future(drive.read(b"f"))
        await gate.reached
        second = asyncio.ensure_future(drive.read(b"f"))
        await asyncio.sleep(0.01)
        first.cancel()
        assert await second == b"content"


async def test_failed_opens_leak_nothing(drives: Drives, memory: Memory, plan: Plan) -> None:
    """However an open ends, its descriptor is closed."""
    await store(memory, b"f", b"content")
    async with drives() as drive:
        await drive.stat(b"f")
        before = len(os.listdir("/proc/self/fd"))
        for operation, flags in (("read", os.O_RDONLY), ("read", os.O_RDWR), ("write", WRITE | os.O_EXCL)):
            path = b"f" if operation == "read" else b"new"
            plan.fail(operation)
            with pytest.raises(Unavailable):
                await drive.open(path, flags)
            gate = plan.hold(operation)
            going = asyncio.ensure_future(drive.open(path, flags))
            await gate.reached
            going.cancel()
            with pytest.raises(asyncio.CancelledError):
                await going
        assert len(os.listdir("/proc/self/fd")) == before


async def test_a_file_that_denies_its_owner_is_fetched(drives: Drives, memory: Memory) -> None:
    """A mode is for programs, not for the mirror; it is as it was afterwards."""
    await store(memory, b"f", b"content", mode=0o000)
    async with drives() as drive:
        await drive.mirror.require(b"f")
        found = await drive.stat(b"f")
        assert found is not None and found.st_mode & 0o777 == 0
        assert memory.reads == 1


async def test_progress_is_told(drives: Drives, memory: Memory) -> None:
    """Of each fetch, the path and all bytes."""
    import contextlib

    told: list[object] = []

    class Told:
        @contextlib.contextmanager
        def transfer(self, *what: object) -> Any:
            told.append(what)
            yield told.append

    await store(memory, b"f", b"x" * (CHUNK + 5))
    async with drives() as drive:
        drive.mirror._content._progress = Told()
        await drive.read(b"f")
    assert told == [("fetching", b"f", CHUNK + 5), CHUNK, 5]


async def test_on_thread_gives_results_and_errors() -> None:
    """Like asyncio.to_thread."""

    def fail() -> None:
        raise ValueError

    work: Callable[[int], int] = lambda number: number + 1  # noqa: E731
    assert await on_thread(work, 1) == 2
    with pytest.raises(ValueError):
        await on_thread(fail)


async def test_an_unrecorded_node_is_not_opened(drives: Drives, memory: Memory) -> None:
    """A placeholder whose session was killed before it was on record is made anew, not read as it is."""
    await store(memory, b"f", b"content")
    async with drives() as drive:
        with open(drive.mirror.tree.real(b"f"), "wb") as file:
            file.write(b"\0" * 7)
        assert await drive.read(b"f") == b"content"
        file_ = await drive.mirror.open(b"f", os.O_RDONLY, opening())
        os.close(file_)
