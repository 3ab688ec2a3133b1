"""Looking up: the mirror agrees with the remote when asked, asks no more than it must, and believes no nonsense."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from dataclasses import replace
from types import FrameType

import pytest
from remotes.faults import Faulty
from remotes.memory import ALL, Memory, Node
from remotes.plans import Gate, Moment, Plan

from broker.remotes.protocol import Attributes, Changes, Unavailable

from .drive import FOREVER, Drives, store


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
        drive.mirror._lookup._trust.ttl = 0
        remote.gates = gates = {name: Gate() for name in (b"gone", b"changed", b"made")}
        gates = dict(gates)
        looking = [asyncio.ensure_future(drive.stat(name)) for name in gates]
        for gate in gates.values():
            await gate.reached
        drive.mirror._lookup._trust.ttl = FOREVER
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


COUNT = 100_000


async def test_a_large_listing_leaves_the_loop_free(drives: Drives) -> None:
    """100,000 names: whoever else has something to do gets their turn between any two small parts of the work.

    The measure is the calls that the loop's thread makes in one turn, which are the same on any machine.
    """
    memory = Memory()
    await memory.mkdir(b"d", Changes(mode=0o755))
    template = memory._new(stat.S_IFREG | 0o644)
    memory._find(b"d").children.update(
        (b"%d" % number, replace(template, ino=10 + number)) for number in range(COUNT)
    )
    turns = [0]

    def count(frame: FrameType, event: str, argument: object) -> None:
        if frame.f_code is asyncio.Handle._run.__code__ and event == "call":
            turns.append(0)
        elif event in ("call", "c_call"):
            turns[-1] += 1

    async with drives(remote=memory) as drive:
        await drive.stat(b"d")
        sys.setprofile(count)
        try:
            await drive.mirror.listing(b"d")
        finally:
            sys.setprofile(None)
        assert len(os.listdir(drive.mirror.tree.real(b"d"))) == COUNT
    assert max(turns) < COUNT / 2


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


@pytest.mark.parametrize("listed", [False, True])
async def test_what_a_killed_change_of_attributes_has_left(drives: Drives, memory: Memory, listed: bool) -> None:
    """It was made here and not told: the next look shows what the remote has, in the same node, and set-id bits."""
    await store(memory, b"f", b"content", mode=0o4644, mtime_ns=10**18)
    await memory.mkdir(b"d", Changes(mode=0o2755))
    async with drives() as drive:
        before = {name: await drive.stat(name) for name in (b"f", b"d")}
        await drive.read(b"f")
        for name in (b"f", b"d"):
            real = drive.mirror.tree.real(name)
            os.chmod(real, 0o700)
            os.utime(real, (1, 1))
            if os.geteuid() == 0:
                os.chown(real, 1234, 1234)
    async with drives() as drive:
        if listed:
            await drive.names()
        for name, then in before.items():
            found = await drive.stat(name)
            assert found is not None and then is not None
            for field in ("st_ino", "st_mode", "st_mtime_ns", "st_uid"):
                assert getattr(found, field) == getattr(then, field)
        assert memory.reads == 1 and await drive.read(b"f") == b"content" and memory.reads == 1
        assert drive.mirror.shown(b"f", os.lstat(drive.mirror.tree.real(b"f")).st_ino).set_id == stat.S_ISUID


async def test_a_change_of_attributes_that_is_under_way(drives: Drives, memory: Memory, plan: Plan) -> None:
    """Is not mended, nor is one that was done after the remote was asked, whose version may be the same."""

    class Coarse(Memory):
        """A change of attributes within one tick of its clock makes no new version."""

        def _change(self, node: Node, changes: Changes) -> Attributes:
            state = node.state
            super()._change(node, changes)
            node.state = state
            return node.attributes()

    coarse = Coarse()
    await store(coarse, b"f", b"content")
    async with drives(ttl=0, remote=Faulty(coarse, plan)) as drive, drives(remote=Faulty(coarse, plan)) as another:
        await drive.read(b"f")
        await another.stat(b"f")
        telling = plan.hold("set_attributes")
        changing = asyncio.ensure_future(another.chmod(b"f", 0o600))
        await telling.reached
        found = await drive.stat(b"f")
        assert found is not None and found.st_mode & 0o777 == 0o600
        asked = plan.hold("stat", path=b"f", moment=Moment.AFTER)
        looking = asyncio.ensure_future(drive.stat(b"f"))
        await asked.reached
        telling.open()
        await changing
        asked.open()
        found = await looking
        assert found is not None and found.st_mode & 0o777 == 0o600
