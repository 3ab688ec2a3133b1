"""What is to go wrong with the operations of a remote, and when: told by events, never by the clock.

A plan belongs to a test. The loop of a remote and the thread of a test may use it at once.
"""

from __future__ import annotations

import asyncio
import enum
import threading
from collections.abc import AsyncIterator, Generator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from broker.remotes.paths import Path
from broker.remotes.protocol import RemoteError, Unavailable

PATIENCE = 30.0
"""Seconds after which a test that waits for an event has failed."""


class Moment(enum.Enum):
    """Where an operation can be held or broken."""

    BEFORE = "before"
    """Nothing has been done."""
    BETWEEN = "between"
    """Another page of a listing was handed over; other operations have no such moment."""
    AFTER = "after"
    """All is done on the remote; the answer is still on its way."""


class Event:
    """Something that happens once; a thread or a coroutine can wait for it."""

    def __init__(self) -> None:
        self._future: Future[None] = Future()
        self._lock = threading.Lock()

    def set(self) -> None:
        with self._lock:
            if not self._future.done():
                self._future.set_result(None)

    @property
    def is_set(self) -> bool:
        return self._future.done()

    def wait(self) -> None:
        """For a thread without a loop."""
        self._future.result(PATIENCE)

    def __await__(self) -> Generator[Any, None, None]:
        # Shielded, because the cancellation of one waiter is not that of the event.
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()


@dataclass(slots=True, eq=False)
class Call:
    """One operation that came by."""

    operation: str
    path: Path
    finished: Event = field(default_factory=Event)


@dataclass(slots=True, eq=False)
class Gate:
    """Holds one call, from the moment that `reached` tells of until it is opened."""

    reached: Event = field(default_factory=Event)
    opened: Event = field(default_factory=Event)

    def open(self) -> None:
        self.opened.set()


@dataclass(slots=True, eq=False)
class Rule:
    """Something for the next `times` calls of that operation, or of every one, at that path, or at every one."""

    moment: Moment
    operation: str | None
    path: Path | None
    times: int
    error: type[RemoteError] | None = None
    gates: list[Gate] = field(default_factory=list)

    def fits(self, moment: Moment, call: Call) -> bool:
        return (
            self.times > 0
            and self.moment is moment
            and self.operation in (None, call.operation)
            and self.path in (None, call.path)
        )


class Passage(Protocol):
    """The way of one call through a plan."""

    async def reach(self, moment: Moment) -> None:
        """Wait as long as the plan says; raise what it says."""


class Passing(Protocol):
    """What a faulty remote asks: a plan, or somebody who knows one."""

    def passing(self, operation: str, path: Path) -> AbstractAsyncContextManager[Passage]: ...


class Plan:
    """Empty, it lets everything through. `calls` are all that came by, in their order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._connected = True

    def fail(
        self,
        operation: str | None = None,
        error: type[RemoteError] = Unavailable,
        *,
        path: Path | None = None,
        times: int = 1,
        moment: Moment = Moment.BEFORE,
    ) -> None:
        """Let the next `times` calls raise `error`; at AFTER the change has been made, but its answer is lost."""
        self._add(Rule(moment, operation, path, times, error))

    def hold(self, operation: str | None = None, *, path: Path | None = None, moment: Moment = Moment.BEFORE) -> Gate:
        """Let the next call wait until the gate is opened."""
        gate = Gate()
        self._add(Rule(moment, operation, path, 1, gates=[gate]))
        return gate

    def reverse(self, operation: str | None = None, count: int = 2) -> None:
        """Let the next `count` calls wait for one another, and then be done one by one, the last one first."""
        self._add(_Reversal(Moment.BEFORE, operation, None, count, waiting=count))

    def disconnect(self) -> None:
        """Make every call Unavailable, those on their way included, until `connect`."""
        self._connected = False

    def connect(self) -> None:
        self._connected = True

    def count(self, operation: str, path: Path | None = None) -> int:
        """How many calls of that operation came by."""
        return sum(call.operation == operation and path in (None, call.path) for call in list(self.calls))

    @asynccontextmanager
    async def passing(self, operation: str, path: Path) -> AsyncIterator[Passage]:
        call = Call(operation, path)
        with self._lock:
            self.calls.append(call)
        try:
            passage = _Passage(self, call)
            await passage.reach(Moment.BEFORE)
            yield passage
        finally:
            call.finished.set()

    def take(self, moment: Moment, call: Call) -> Rule | None:
        """The first rule for `call` at `moment`, used up by one."""
        with self._lock:
            rule = next((rule for rule in self._rules if rule.fits(moment, call)), None)
            if rule is not None:
                rule.times -= 1
            return rule

    def check(self, call: Call) -> None:
        if not self._connected:
            raise Unavailable(call.path, "disconnected")

    def _add(self, rule: Rule) -> None:
        with self._lock:
            self._rules.append(rule)


@dataclass(slots=True, eq=False)
class _Reversal(Rule):
    """Lets calls through when `waiting` of them are there, each when the one that came after it is finished."""

    waiting: int = 0
    arrived: list[Call] = field(default_factory=list)
    complete: Event = field(default_factory=Event)

    async def turn(self, call: Call) -> None:
        place = len(self.arrived)
        self.arrived.append(call)
        if len(self.arrived) == self.waiting:
            self.complete.set()
        await self.complete
        if place + 1 < self.waiting:
            await self.arrived[place + 1].finished


@dataclass(slots=True)
class _Passage:
    plan: Plan
    call: Call

    async def reach(self, moment: Moment) -> None:
        rule = self.plan.take(moment, self.call)
        if isinstance(rule, _Reversal):
            await rule.turn(self.call)
        elif rule is not None:
            for gate in rule.gates:
                gate.reached.set()
                await gate.opened
        self.plan.check(self.call)
        if rule is not None and rule.error is not None:
            raise rule.error(self.call.path, "as planned")
