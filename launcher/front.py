"""The front: what the shell or the container runtime started. It waits, and its exit status is the program's."""

from __future__ import annotations

import os
import signal
import socket

from msgspec import json

from broker import messages
from launcher.inherited import announce
from launcher.init import ENDED, EVENT, LOST, STARTED, STOPPED
from launcher.job import Job, stop_by
from launcher.procfs import descendants
from launcher.say import FAILED, NOT_PUSHED, say

_SYNC = '"seccomp-drive sync" with the same -p and -m'
_KEPT = f"The content is kept in the cache; run {_SYNC}"
_SHOWN = 10
_MESSAGE_MAX = 1 << 18
_LEAVE = {signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}


class Front:
    """All signals are blocked and taken by sigwaitinfo(2); SIGIO says that the broker or init has news."""

    def __init__(
        self,
        broker_pid: int,
        broker: socket.socket,
        init: socket.socket,
        spare: socket.socket,
        *,
        keep_running: bool = False,
    ) -> None:
        """`spare` is init's too, and holds the listener as long as one of us does: trapped calls then wait for what
        becomes of them, whoever is killed."""
        self._broker_pid = broker_pid
        self._broker = broker
        self._init = init
        self._spare = spare
        self._keep_running = keep_running
        self._job = Job(os.getpid())
        self._code: int | None = None
        """What a shell would call the program's exit status, once it has ended."""
        self._pending: list[str] | None = None
        """What could not be pushed, once the broker has tried."""
        self._serving = self._failed = self._warned = self._abandoned = self._lost = False
        self._init_lives = self._broker_lives = self._has_children = True
        self._adopted = False
        """Whether the program is our own child, because init was killed."""

    def run(self) -> int:
        """Wait for everything; the exit status."""
        announce(self._init)
        announce(self._broker)
        while True:
            self._hear_init()
            self._hear_broker()
            self._reap()
            if self._adopted and self._failed:
                _kill(descendants(os.getpid()))
            if (status := self._verdict()) is not None:
                return status
            self._take(signal.sigwaitinfo(signal.valid_signals()))

    def _verdict(self) -> int | None:
        """The exit status, when there is nothing left to wait for."""
        if self._adopted and self._failed:
            return None if self._has_children else FAILED
        if self._code is None:
            return None if self._init_lives or self._adopted else FAILED
        if self._failed:
            return FAILED
        if not self._serving:  # the program's process ended before it was the program
            if self._broker_lives:
                os.kill(self._broker_pid, signal.SIGKILL)
            return self._code
        if self._abandoned:
            return self._code or NOT_PUSHED
        if self._pending is None and self._broker_lives:
            return None
        if os.getpid() == 1 and self._broker_lives:
            return None  # PID 1 takes with it all that still runs in the background
        return self._code or (0 if self._pending == [] else NOT_PUSHED)

    def _hear_init(self) -> None:
        while self._init_lives and (message := _message(self._init)) is not None:
            if message:
                self._event(*EVENT.unpack(message))
                continue
            self._init_lives = False
            if self._code is None:
                self._adopt()

    def _adopt(self) -> None:
        """Watch the program in the place of init, which was killed: we are the next subreaper (prctl(2))."""
        self._adopted = self._job.lives()
        if self._adopted or self._failed:
            return
        self._failed = True
        if self._job.program:
            say("the process that watches the program was killed; how the program has ended is unknown")
        else:
            say("the process that watches the program was killed before it had started")
            os.kill(self._broker_pid, signal.SIGKILL)  # without its "go" the program's process ends by itself

    def _event(self, event: bytes, number: int) -> None:
        if event == STARTED:
            self._job.started(number)
        elif event == STOPPED:
            self._job.stop(number)
        elif event == LOST:
            self._hear_broker()  # it may have said why
            if self._serving:  # before that it ends by itself when the program's process does
                self._lose_broker()
        elif event == ENDED:
            self._ended(number)

    def _ended(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self._code = code if code >= 0 else 128 - code
        self._tell_broker(messages.ENDED)
        while (info := signal.sigtimedwait(_LEAVE, 0)) is not None:  # they came before the end was known
            if not _for_all(info):
                self._after_the_end(info.si_signo)

    def _hear_broker(self) -> None:
        while message := _message(self._broker):
            if message == messages.SERVING:
                self._serving = True
            elif message.startswith(messages.PUSHED):
                self._pending = _paths(message[len(messages.PUSHED) :])
                if self._pending:
                    say(f"not pushed: {_shown(self._pending)}. {_KEPT}")
            elif message.startswith(messages.LEFT):
                say(f"still to be pushed: {_shown(_paths(message[len(messages.LEFT) :]))}")
            elif message.startswith(messages.FAILURE):
                self._failed = True
                say(message[len(messages.FAILURE) :].decode())

    def _tell_broker(self, message: bytes) -> None:
        try:
            self._broker.send(message)
        except OSError:
            pass  # it has ended; its exit status will say how

    def _reap(self) -> None:
        """The broker; orphans, as PID 1 or without init, and then the program too."""
        try:
            while (child := os.waitpid(-1, os.WNOHANG | os.WUNTRACED))[0] != 0:
                self._changed(*child)
        except ChildProcessError:
            self._has_children = False

    def _changed(self, pid: int, status: int) -> None:
        if os.WIFSTOPPED(status):
            if pid == self._job.program:
                self._job.stop(os.WSTOPSIG(status))
        elif pid == self._broker_pid:
            self._broker_lives = False
            if self._keep_running:
                self._spare.close()
            self._hear_broker()
            self._broker_ended(status)
        elif pid == self._job.program:
            self._ended(status)

    def _broker_ended(self, status: int) -> None:
        """It exits with 0 when nothing was left to serve and to push. Otherwise init kills the program."""
        if self._pending is not None or self._failed:
            return
        if status == 0:
            self._pending = []
        elif self._code is None:
            self._lose_broker()
        else:
            say(f"the broker died before all was pushed; run {_SYNC}")

    def _lose_broker(self) -> None:
        if self._failed or self._lost:
            return
        self._lost = True
        self._failed = not self._keep_running
        if self._keep_running:
            say(
                "the broker died. The program runs on, but its calls on paths fail with ENOSYS; "
                f"run {_SYNC} to push what it has written"
            )
        else:
            say(f"the broker died, and the program with it; run {_SYNC} to push what it has written")

    def _take(self, info: signal.struct_siginfo) -> None:
        if info.si_signo == signal.SIGCHLD or (info.si_signo == signal.SIGIO and info.si_code > 0):
            return  # ours: the loop looks for the reason
        if info.si_signo == signal.SIGCONT:
            self._job.continue_()
            return
        ended = self._code is not None
        self._hear_init()  # the program may have ended just before
        if self._code is None:
            self._job.pass_on(info)
        elif ended or not _for_all(info):  # one that the program has followed is none for us
            self._after_the_end(info.si_signo)

    def _after_the_end(self, number: int) -> None:
        """Pushing goes on in the broker, whatever happens to us."""
        if number == signal.SIGTSTP:
            stop_by(signal.SIGSTOP)
        elif number not in _LEAVE:
            return
        elif os.getpid() == 1 and self._pending is not None:
            os.kill(-1, number)  # for those in the background; the broker and init have it blocked
        elif self._warned:
            self._abandoned = True
            self._tell_broker(messages.ABANDON)
            say(f"not everything was pushed. {_KEPT}")
        else:
            self._warned = True
            say(
                "the program has ended, its files are still being pushed. Interrupt again to leave now: "
                f"nothing is lost, what is not pushed is kept in the cache, for {_SYNC}"
            )
            self._tell_broker(messages.ASK)


def _for_all(info: signal.struct_siginfo) -> bool:
    """Whether the program has got the signal as well: from the terminal (SI_KERNEL in sigaction(2)), or to stop."""
    return info.si_code > 0 or info.si_signo == signal.SIGTSTP


def _kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass  # it has ended, or is another user's now


def _paths(told: bytes) -> list[str]:
    return json.decode(told, type=list[str])


def _shown(paths: list[str]) -> str:
    rest = [f"and {len(paths) - _SHOWN} more"] if len(paths) > _SHOWN else []
    return ", ".join([*paths[:_SHOWN], *rest]) or "nothing more"


def _message(channel: socket.socket) -> bytes | None:
    """The next message, empty when the other end has closed; None when there is none yet."""
    try:
        return channel.recv(_MESSAGE_MAX)
    except BlockingIOError:
        return None
    except OSError:
        return b""
