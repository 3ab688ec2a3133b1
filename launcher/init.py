"""The init of a session: parent of the program and of its orphans, and the front's eyes on it."""

from __future__ import annotations

import os
import signal
import socket
import struct

from broker.kernel import native
from launcher.inherited import announce
from launcher.procfs import descendants, is_stopped

_PRCTL = 157
_PR_SET_CHILD_SUBREAPER = 36

EVENT = struct.Struct("<ci")
STARTED = b"P"
"""The number is the program's pid."""
STOPPED = b"S"
"""The number is the signal that stopped the program."""
LOST = b"L"
"""The broker has ended and the program has not; the number is 0."""
ENDED = b"E"
"""The number is the program's wait status, see wait(2)."""


def adopt_orphans() -> None:
    native.call(native.AUDIT_ARCH_X86_64, _PRCTL, (_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


class Init:
    """All signals are blocked, so none of the terminal's can stop or end this process."""

    def __init__(
        self,
        program: int,
        front: socket.socket,
        front_pid: int,
        lifeline: socket.socket,
        spare: socket.socket,
        *,
        keep_running: bool,
    ) -> None:
        """`lifeline` ends with the broker. `spare` holds the listener too, in a message that is never received:
        without the broker, trapped calls wait for what we do instead of failing with ENOSYS."""
        self._program: int | None = program
        self._front = front
        self._front_pid = front_pid
        self._lifeline = lifeline
        self._spare = spare
        self._keep_running = keep_running
        self._lost = False

    def run(self) -> int:
        """Reap until no child is left."""
        announce(self._front)
        announce(self._lifeline)
        self._tell(STARTED, self._program or 0)
        while self._reap():
            if self._lost or _has_ended(self._lifeline):
                self._lose_broker()
            if self._program is not None and _has_ended(self._front):
                self._kill([self._program])  # the front was killed, and the front stands for the program
            signal.sigwaitinfo({signal.SIGCHLD, signal.SIGIO})
        return 0

    def _lose_broker(self) -> None:
        """Nobody answers trapped calls any more: end what would make them, or let them fail."""
        if self._program is not None and not self._lost:
            self._tell(LOST, 0)  # before the end that comes of it
        self._lost = True
        if self._keep_running:
            self._spare.close()
        else:
            self._kill(descendants(os.getpid()))

    def _reap(self) -> bool:
        """Wait for all children that have changed; whether any is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._program:
                self._changed(status)

    def _changed(self, status: int) -> None:
        if os.WIFSTOPPED(status):
            self._tell(STOPPED, os.WSTOPSIG(status))
        elif os.WIFCONTINUED(status):
            if is_stopped(self._front_pid):  # a late SIGCONT would undo the next stop
                self._kill([self._front_pid], signal.SIGCONT)
        else:
            self._program = None
            self._tell(ENDED, status)

    def _tell(self, event: bytes, number: int) -> None:
        try:
            self._front.send(EVENT.pack(event, number))
        except OSError:
            pass  # the front is gone

    def _kill(self, pids: list[int], number: int = signal.SIGKILL) -> None:
        for pid in pids:
            try:
                os.kill(pid, number)
            except OSError:
                pass


def _has_ended(channel: socket.socket) -> bool:
    """Whether the other end is closed; nothing is ever sent to init."""
    try:
        return channel.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
