"""The program as the shell's job: signals passed on to it, stopped and continued with it."""

from __future__ import annotations

import os
import signal

from launcher.procfs import descends_from, is_stopped

_FROM_TERMINAL = {
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGHUP,
    signal.SIGWINCH,
}
"""What the terminal sends to the whole foreground group: the program gets its own."""


class Job:
    def __init__(self, ancestor: int) -> None:
        """`ancestor` is one of the program's, and of nothing else that sends signals."""
        self._ancestor = ancestor
        self._program = 0
        self._pidfd = -1
        self._early: list[int] = []
        self._had_terminal = False

    def started(self, program: int) -> None:
        self._program = program
        try:
            self._pidfd = os.pidfd_open(program)
        except ProcessLookupError:
            return
        for number in self._early:
            self._send(number)

    @property
    def program(self) -> int:
        """Its pid; 0 before it was started."""
        return self._program

    def lives(self) -> bool:
        """Whether the program has been started and nobody has waited for its end yet."""
        try:
            signal.pidfd_send_signal(self._pidfd, 0)
        except PermissionError:
            return True
        except OSError:
            return False
        return True

    def pass_on(self, info: signal.struct_siginfo) -> None:
        """Send a signal on to the program, unless it has got it already."""
        if info.si_code > 0 and info.si_signo in _FROM_TERMINAL:
            if info.si_signo != signal.SIGHUP or os.getsid(0) != os.getpid():
                return  # a hang-up is told to the leader of the session alone
        elif info.si_code <= 0 and descends_from(info.si_pid, self._ancestor):
            return  # kill(0, …) by the program, which reached all of its group
        self._send(info.si_signo)

    def stop(self, number: int) -> None:
        """The program was stopped by a signal: stop by the same, which the shell shows. Returns when continued."""
        if is_stopped(self._program):
            self._had_terminal = _foreground_group() == _group(self._program)
            stop_by(number)

    def continue_(self) -> None:
        """We were continued: so is the program, if it is stopped still, with the terminal if it had that.

        In our own process group it was the shell's SIGCONT that continued it. A group of its own, as an interactive
        shell makes for itself, is unknown to the shell that we belong to.
        """
        if not is_stopped(self._program):
            return
        group = _group(self._program)
        if group == os.getpgrp():
            self._send(signal.SIGCONT)
        elif group:
            if self._had_terminal and _foreground_group() == os.getpgrp():
                _give_terminal(group)
            os.killpg(group, signal.SIGCONT)

    def _send(self, number: int) -> None:
        if not self._program:
            self._early.append(number)
            return
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except OSError:
            pass  # it has ended, or is another user's now


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def stop_by(number: int) -> None:
    """Stop this process, in which all signals are blocked, by SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU."""
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})


def _foreground_group() -> int:
    """The process group that the controlling terminal belongs to; 0 without a terminal."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return 0
    try:
        return os.tcgetpgrp(terminal)
    except OSError:
        return 0
    finally:
        os.close(terminal)


def _give_terminal(group: int) -> None:
    """tcsetpgrp(3); SIGTTOU, which would stop us for it, is blocked."""
    terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    try:
        os.tcsetpgrp(terminal, group)
    except OSError:
        pass
    finally:
        os.close(terminal)
