"""A remote that does not move is left; one that moves, however slowly, is waited for. Nobody looks at a clock here:
what must not time out has an hour, and what must waits for an event that never comes.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from broker.eager import start
from broker.errors import errno_of
from broker.remotes.protocol import Attributes, Changes, Entry, Remote, TimedOut, Version
from broker.remotes.timing import Timed

from .conformance import Conformance
from .faults import Faulty
from .helpers import NOTHING, content_of, names_in, put, source
from .memory import Memory
from .plans import Moment, Plan

SOON, LATE = 0.05, 3600.0


class TestTimedMemory(Conformance):
    @pytest.fixture
    def remote(self) -> Remote:
        return Timed(Memory(), LATE)


@pytest.fixture
def plan() -> Plan:
    return Plan()


CALLS: dict[str, Any] = {
    "stat": lambda remote: remote.stat(b"f"),
    "list": lambda remote: names_in(remote, b""),
    "read": lambda remote: remote.read(b"f", Version("v"), 0, 10),
    "write": lambda remote: put(remote, b"new"),
    "mkdir": lambda remote: remote.mkdir(b"d", NOTHING),
    "symlink": lambda remote: remote.symlink(b"l", b"x", NOTHING),
    "link": lambda remote: remote.link(b"f", b"g"),
    "remove": lambda remote: remote.remove(b"f"),
    "rename": lambda remote: remote.rename(b"f", b"g"),
    "set_attributes": lambda remote: remote.set_attributes(b"f", Changes(mode=0o600)),
    "get_xattrs": lambda remote: remote.get_xattrs(b"f"),
    "space": lambda remote: remote.space(),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_that_hangs(plan: Plan, name: str) -> None:
    """It is ETIMEDOUT, what hung is cancelled, and the next call works."""
    memory = Memory()
    await put(memory, b"f")
    remote = Timed(Faulty(memory, plan), SOON)
    plan.hold(name)
    with pytest.raises(TimedOut) as caught:
        await CALLS[name](remote)
    assert errno_of(caught.value) == errno.ETIMEDOUT and "not moved" in str(caught.value)
    await plan.calls[-1].finished
    await remote.stat(b"f")


async def test_a_call_that_never_waits_costs_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most looks at a local folder."""
    remote = Timed(Memory(), LATE)
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", pytest.fail)
    await remote.mkdir(b"d", NOTHING)
    await remote.stat(b"d")


async def test_without_a_task(plan: Plan) -> None:
    """A trapped call runs up to its first wait before it has a task."""
    remote = Timed(Faulty(Memory(), plan), SOON)
    plan.hold("stat")
    caught: list[BaseException] = []

    async def call() -> None:
        try:
            await remote.stat(b"")
        except TimedOut as error:
            caught.append(error)

    task = start(call())
    assert task is not None
    await task
    assert len(caught) == 1


async def test_somebody_else_cancels(plan: Plan) -> None:
    """That is no timeout."""
    remote = Timed(Faulty(Memory(), plan), LATE)
    held = plan.hold("stat")
    waiting = asyncio.ensure_future(remote.stat(b""))
    await held.reached
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_does_not_heed_its_cancellation() -> None:
    """It is thrown out of its next wait, also of one that has no future."""

    class Stubborn(Memory):
        async def stat(self, path: bytes) -> Attributes:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0)
            raise AssertionError("it went on")

    with pytest.raises(TimedOut):
        await Timed(Stubborn(), SOON).stat(b"")


LONG = 1.0
"""Seconds that a machine with other work to do does not mistake for a fifth of it."""


class Dripping(Memory):
    """Takes its time, but says so: `LONG` is over before it has ended. It reads 10,000 bytes a second."""

    async def list(self, path: bytes) -> AsyncIterator[Sequence[Entry]]:
        async for page in super().list(path):
            await asyncio.sleep(LONG / 5)
            yield page

    async def write(self, *arguments: Any, step: Any, **named: Any) -> Attributes:
        for _ in range(6):
            await asyncio.sleep(LONG / 5)
            step(1)
        return await super().write(*arguments, **named)

    async def read(self, path: bytes, version: Version, offset: int, length: int) -> bytes:
        await asyncio.sleep(length / 10_000)
        return await super().read(path, version, offset, length)


async def test_slow_is_not_dead() -> None:
    """Pages, parts and steps that come in time: the whole may take much longer."""
    memory = Dripping(page=1)
    remote = Timed(memory, LONG)
    for number in range(6):
        await memory.mkdir(b"%d" % number, NOTHING)
    assert len(await names_in(remote, b"")) == 6
    with source(b"x" * 12_000) as file:
        await remote.write(b"f", file, None, NOTHING)
    assert await content_of(remote, b"f") == b"x" * 12_000


async def test_a_push_that_stops(plan: Plan) -> None:
    """Some steps, and then none."""
    remote = Timed(Faulty(Dripping(), plan), LONG)
    plan.hold("write", moment=Moment.AFTER)
    with pytest.raises(TimedOut):
        await put(remote, b"f", b"1")


async def test_reads_grow(plan: Plan) -> None:
    """The first asks for what two kilobytes a second can bring in time; a quick remote is soon asked for all."""
    asked: list[int] = []

    class Noting(Memory):
        async def read(self, path: bytes, version: Version, offset: int, length: int) -> bytes:
            asked.append(length)
            return await super().read(path, version, offset, length)

    memory = Noting()
    await put(memory, b"f", b"x" * (8 << 20))
    remote = Timed(memory, 60.0)
    version = (await memory.stat(b"f")).version
    for _ in range(6):
        await remote.read(b"f", version, 0, 4 << 20)
    assert asked == sorted(asked) and asked[0] <= 60 * 2048 and asked[-1] == 4 << 20
