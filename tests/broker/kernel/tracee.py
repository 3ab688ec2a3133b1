"""A program under a filter of its own, with an init above it as in a real session: for tests of the native part."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from broker.kernel import native
from broker.kernel.lane import Lane, Trapped, Warm
from broker.table import TABLE, Row
from launcher import filter as seccomp

CONTINUE = 1
_PRCTL = 157
_PR_SET_PDEATHSIG = 1
DEADLINE = 20.0
"""Seconds that any wait may take before the test fails."""


class Session:
    """The lane over one running program, which is a function that runs in a forked process."""

    def __init__(self, listener: int, lane: Lane, program: int, init: int, answers: socket.socket) -> None:
        self.listener = listener
        self.lane = lane
        self.program = program
        self._init = init
        self._answers = answers
        self._taken: list[Trapped] = []

    def next(self) -> Trapped:
        """The oldest notification that was handed over."""
        while not self._taken:
            assert select.select([self.lane.event], [], [], DEADLINE)[0], "nothing was handed over"
            self._taken += self.lane.take()
            assert self._taken or not self.lane.ended, "the program ended instead"
        return self._taken.pop(0)

    def let_continue(self, trapped: Trapped) -> None:
        native.send(self.listener, trapped.cookie, 0, 0, CONTINUE)

    def answer(self, trapped: Trapped, value: int = 0, error: int = 0) -> None:
        native.send(self.listener, trapped.cookie, value, error, 0)

    def finish(self) -> list[Trapped]:
        """Let everything continue until the program has ended; what was handed over on the way."""
        seen: list[Trapped] = []
        while not self.lane.ended:
            assert select.select([self.lane.event], [], [], DEADLINE)[0], "the program does not end"
            for trapped in self._taken + self.lane.take():
                seen.append(trapped)
                try:
                    self.let_continue(trapped)
                except FileNotFoundError:
                    pass  # it was killed
            self._taken = []
        return seen

    def result(self) -> Any:
        """What the program's function returned; AssertionError if it raised or was killed."""
        self.finish()
        what, value = self.ending()
        assert what == "returned", value
        return value

    def ending(self) -> tuple[str, Any]:
        """("returned", value) or ("raised", text) of the function, ("ended", wait status) if it did neither."""
        ending: tuple[str, Any] = pickle.loads(self._answers.recv(1 << 20))
        return ending

    def close(self) -> None:
        try:
            os.kill(self._init, signal.SIGKILL)
        finally:
            os.waitpid(self._init, 0)
            self.lane.stop()
            os.close(self.listener)
            self._answers.close()


@contextmanager
def running(
    function: Callable[..., Any],
    *arguments: Any,
    rows: Sequence[Row] = TABLE,
    directories: Sequence[bytes] = (b"/drive",),
    schemes: Sequence[bytes] = (b"sommelier:",),
    mirrors: Sequence[bytes] = (),
    parents: Sequence[bytes] = (),
    threads: int = 4,
    handed_out: bool = False,
    serve: bool = True,
    warm: Warm | None = None,
) -> Iterator[Session]:
    """Run `function(*arguments)` in a process under the filter of `rows`, served by a lane.

    Without `serve` the lane is not started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(DEADLINE)
    init = os.fork()
    if init == 0:
        ours.close()
        _be_init(theirs, seccomp.compiled(rows, native.filter_cookie()), lambda: function(*arguments))
    theirs.close()
    message, descriptors, _, _ = socket.recv_fds(ours, 64, 1)
    listener = descriptors[0]
    native.sync_wake_up(listener)
    lane = Lane(listener, rows, directories, schemes, mirrors, parents, threads, warm)
    session = Session(listener, lane, int(message), init, ours)
    try:
        if handed_out:
            lane.handed_out()
        if serve:
            lane.start()
        ours.send(b"go")
        yield session
    finally:
        session.close()


def _be_init(channel: socket.socket, program: bytes, function: Callable[[], Any]) -> None:
    try:
        child = os.fork()
        if child == 0:
            _be_program(channel, program, function)
        channel.send(pickle.dumps(("ended", os.waitpid(child, 0)[1])))
    finally:
        os._exit(0)


def _be_program(channel: socket.socket, program: bytes, function: Callable[[], Any]) -> None:
    status = 1
    try:
        native.call(native.AUDIT_ARCH_X86_64, _PRCTL, (_PR_SET_PDEATHSIG, signal.SIGKILL))
        listener, _ = seccomp.install(program)
        socket.send_fds(channel, [str(os.getpid()).encode()], [listener])
        os.close(listener)
        channel.recv(2)
        try:
            outcome = ("returned", function())
        except BaseException as error:
            outcome = ("raised", repr(error))
        channel.send(pickle.dumps(outcome))
        status = 0
    finally:
        os._exit(status)


class Probe:
    """A program that makes one call after another as it is told."""

    def __init__(self, session: Session, channel: socket.socket) -> None:
        self.session = session
        self.lane = session.lane
        self._channel = channel

    def ask(self, name: str, *arguments: Any, **keywords: Any) -> tuple[Any, list[Trapped]]:
        """Make it call `os.NAME` (or a name of `more`): its result or negative errno, and what was handed over."""
        self._channel.send(pickle.dumps((name, arguments, keywords)))
        seen: list[Trapped] = []
        while True:
            ready = select.select([self._channel.fileno(), self.lane.event], [], [], DEADLINE)[0]
            assert ready, "the program does not answer"
            for trapped in self.lane.take():
                seen.append(trapped)
                self.session.let_continue(trapped)
            if self._channel.fileno() in ready:
                return pickle.loads(self._channel.recv(1 << 20)), seen

    def handed_over(self, name: str, *arguments: Any, **keywords: Any) -> bool:
        return bool(self.ask(name, *arguments, **keywords)[1])


@contextmanager
def probing(more: Mapping[str, Callable[..., Any]] | None = None, **options: Any) -> Iterator[Probe]:
    """A `Probe`; `options` are those of `running`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def obey() -> None:
        ours.close()
        while message := theirs.recv(1 << 20):
            name, arguments, keywords = pickle.loads(message)
            call = (more or {}).get(name) or getattr(os, name)
            try:
                result = call(*arguments, **keywords)
                result = tuple(result) if isinstance(result, os.stat_result) else result
            except OSError as error:
                result = -(error.errno or 0)
            theirs.send(pickle.dumps(result))

    with running(obey, **options) as session:
        theirs.close()
        try:
            yield Probe(session, ours)
        finally:
            ours.close()
