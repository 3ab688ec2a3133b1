"""The dispatcher: each call gets its own answer, whatever happens to the others in its batch."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from broker import dispatch
from broker.answering import ERESTARTSYS
from broker.dispatch import Dispatcher
from broker.kernel import native
from broker.kernel.lane import Trapped
from broker.kernel.native import Identity
from broker.remotes.protocol import Forbidden
from broker.syscalls.call import Call, Services
from broker.syscalls.handlers import HANDLERS
from broker.syscalls.reply import Continue, Fail, Reply, Return, Unserved

X86_64 = native.AUDIT_ARCH_X86_64
GETCWD = 79
Answers = dict[int, tuple[int, int]]
CONTINUED = (0, -1)


class Lane:
    """Hands over one batch; the session ends when all of it has been answered."""

    def __init__(self, batch: list[Trapped]) -> None:
        self.event = os.eventfd(1)
        self.batch = batch
        self.ended = False

    def take(self) -> list[Trapped]:
        os.eventfd_read(self.event)
        batch, self.batch = self.batch, []
        self.ended = True
        return batch

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


def trapped(cookie: int, number: int = GETCWD) -> Trapped:
    return Trapped(cookie, os.getpid(), X86_64, number, (0, 0, 0, 0, 0, 0), ())


def serve(
    monkeypatch: pytest.MonkeyPatch,
    batch: list[Trapped],
    handler: Callable[[Call], Awaitable[Reply]],
    tell: Callable[[str], None] = print,
) -> Answers:
    """Let `handler` answer every getcwd of the batch; what was answered, (value, errno) by cookie."""
    answers: Answers = {}

    def send(listener: int, cookie: int, value: int, error: int, flags: int) -> None:
        answers[cookie] = value, -error

    class Answerer:
        async def answer(self, call: Call, reply: Reply) -> None:
            if reply == Return(13):
                raise RuntimeError("an answer that cannot be given")
            if reply == Return(14):
                raise OSError(errno.EIO, "an answer that cannot be given")
            if isinstance(reply, Return):
                answers[call.trapped.cookie] = reply.value, 0
            elif isinstance(reply, Fail):
                answers[call.trapped.cookie] = 0, reply.errno
            elif isinstance(reply, Continue):
                answers[call.trapped.cookie] = CONTINUED

    monkeypatch.setattr(native, "send", send)
    monkeypatch.setattr(native, "id_valid", lambda listener, cookie: True)
    lane = Lane(batch)
    credentials = SimpleNamespace(own=Identity(0, 0, (), 0), of=lambda tracee: None)
    services = SimpleNamespace(lane=lane, listener=-1, credentials=credentials, mirrors={}, protected=None)
    handlers = {**HANDLERS, "getcwd": handler}
    try:
        dispatcher = Dispatcher(cast(Services, services), handlers, cast(Any, Answerer()), tell)
        asyncio.run(asyncio.wait_for(dispatcher.serve(), 20))
    finally:
        os.close(lane.event)
    return answers


RAISED: list[tuple[BaseException, int]] = [
    (PermissionError(errno.EACCES, ""), errno.EACCES),
    (Forbidden(b"f"), errno.EACCES),
    (ValueError("a mistake of ours"), errno.EIO),
    (OSError("without a number"), errno.EIO),
    (asyncio.CancelledError(), ERESTARTSYS),
]


@pytest.mark.parametrize(("error", "number"), RAISED, ids=[type(error).__name__ for error, _ in RAISED])
@pytest.mark.parametrize("waits", [False, True])
def test_what_a_handler_raises_is_the_errno(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, number: int, waits: bool
) -> None:
    """At once or after a wait, it is the answer of this call, and those behind it get their own."""

    async def handler(call: Call) -> Reply:
        if waits:
            await asyncio.sleep(0)
        if call.trapped.cookie == 1:
            raise error
        return Return(call.trapped.cookie)

    answers = serve(monkeypatch, [trapped(1), trapped(2), trapped(3)], handler)
    assert answers == {1: (0, number), 2: (2, 0), 3: (3, 0)}


@pytest.mark.parametrize("broken", ["verdict", "answer", "send", "telling", "number"])
@pytest.mark.parametrize("waits", [False, True])
def test_one_bad_call_costs_no_other(monkeypatch: pytest.MonkeyPatch, broken: str, waits: bool) -> None:
    """A mistake in checking its arguments, in answering it, in telling of it, or a call that nobody knows: EIO for it
    alone, whether it has waited or not."""

    def verdict(call: Call) -> Reply | None:
        raise ZeroDivisionError

    def tell(message: str) -> None:
        raise ZeroDivisionError

    async def handler(call: Call) -> Reply:
        if waits:
            await asyncio.sleep(0)
        if call.trapped.cookie != 2:
            return Return(call.trapped.cookie)
        if broken == "verdict":
            raise FileNotFoundError(errno.ENOENT, "")
        if broken == "telling":
            raise Unserved(errno.ENOENT, "")
        return Return(14 if broken == "send" else 13)

    if broken == "verdict":
        monkeypatch.setattr(dispatch, "verdict", verdict)
    batch = [trapped(1), trapped(2, 9999 if broken == "number" else GETCWD), trapped(3), trapped(4)]
    answers = serve(monkeypatch, batch, handler, tell)
    assert answers == {1: (1, 0), 2: (0, errno.EIO), 3: (3, 0), 4: (4, 0)}


def test_the_check_of_arguments_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel finds wrong before it looks at the path is the answer of a call that failed on its path."""

    async def handler(call: Call) -> Reply:
        raise FileNotFoundError(errno.ENOENT, "")

    monkeypatch.setattr(dispatch, "verdict", lambda call: Fail(errno.EINVAL))
    assert serve(monkeypatch, [trapped(1)], handler) == {1: (0, errno.EINVAL)}


def test_a_caller_that_nobody_may_look_into_is_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls continue, whatever they are, and the user is told who it is and what would help."""

    async def handler(call: Call) -> Reply:
        raise native.Unreadable(errno.EPERM, "")

    told: list[str] = []
    assert serve(monkeypatch, [trapped(1), trapped(2)], handler, told.append) == {1: CONTINUED, 2: CONTINUED}
    assert all("CAP_SYS_PTRACE" in message for message in told)
    assert told[0] == told[1], "the same words, so that they are said once"


def test_what_a_drive_cannot_do_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program sees the errno, and the user why."""

    async def handler(call: Call) -> Reply:
        raise Unserved(errno.ELIBACC, "do something else")

    told: list[str] = []
    assert serve(monkeypatch, [trapped(1)], handler, told.append) == {1: (0, errno.ELIBACC)}
    assert told == ["do something else"]


def test_it_ends_only_when_all_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last process is gone, but what it asked for is still done."""

    async def handler(call: Call) -> Reply:
        await asyncio.sleep(0.05 * call.trapped.cookie)
        return Return(call.trapped.cookie)

    assert serve(monkeypatch, [trapped(3), trapped(1)], handler) == {1: (1, 0), 3: (3, 0)}
