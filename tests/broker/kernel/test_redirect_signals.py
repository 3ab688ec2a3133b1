"""Redirects of programs that are signalled, stopped or killed meanwhile."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redirecting import redirect_chdir
from tracee import Session, running

from broker.table import TABLE


def test_a_signal_that_waits_is_delivered_once_and_after(tmp_path: Path) -> None:
    """The handler does not run inside the redirect, and runs when it is over."""

    def change() -> tuple[list[str], str]:
        where: list[str] = []
        signal.signal(signal.SIGUSR1, lambda *_: where.append(os.readlink("/proc/self/cwd")))
        os.chdir("/drive/x")
        while not where:
            signal.sigtimedwait([], 0.01)
        return where, os.getcwd()

    with running(change, rows=[row for row in TABLE if row.name == "chdir"]) as session:
        trapped = session.next()
        os.kill(session.program, signal.SIGUSR1)
        assert redirect_chdir(session, trapped, tmp_path) == 0
        assert session.result() == ([str(tmp_path)], str(tmp_path))


def test_a_stopped_program_stays_stopped(tmp_path: Path) -> None:
    """SIGSTOP holds after the redirect, and SIGCONT ends it."""

    def change() -> str:
        os.chdir("/drive/x")
        return os.getcwd()

    with running(change) as session:
        trapped = session.next()
        os.kill(session.program, signal.SIGSTOP)
        assert redirect_chdir(session, trapped, tmp_path) == 0
        deadline = time.monotonic() + 10
        while state_of(session.program) != "T" and time.monotonic() < deadline:
            time.sleep(0.001)
        assert state_of(session.program) == "T"
        os.kill(session.program, signal.SIGCONT)
        assert session.result() == str(tmp_path)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGUSR1, signal.SIGCHLD])
def test_signals_that_arrive_in_the_middle(number: signal.Signals, tmp_path: Path) -> None:
    """At whatever instant of the redirect they come, the program ends up where it asked to be, and runs on."""

    def change() -> str:
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.siginterrupt(signal.SIGUSR1, False)  # else the wait before the lane receives it says EINTR
        for _ in range(100):
            os.chdir("/drive/x")
        where = os.getcwd()
        os.access("/drive/end", 0)
        return where

    with running(change) as session:
        first = session.next()
        stop = threading.Event()

        def pester() -> None:
            while not stop.wait(0.0002):
                os.kill(session.program, number)
                if number == signal.SIGSTOP:
                    os.kill(session.program, signal.SIGCONT)

        thread = threading.Thread(target=pester)
        thread.start()
        try:
            assert redirect_chdir(session, first, tmp_path) == 0
            for _ in range(99):
                assert redirect_chdir(session, session.next(), tmp_path) == 0
        finally:
            stop.set()
            thread.join()
        os.kill(session.program, signal.SIGCONT)
        session.answer(session.next(), error=-errno.ENOENT)
        assert session.result() == str(tmp_path)


def killed(session: Session, when: Callable[[], None]) -> None:
    trapped = session.next()
    thread = threading.Thread(target=when)
    thread.start()
    try:
        redirect_chdir(session, trapped, "/tmp")
    except (ProcessLookupError, FileNotFoundError):
        pass
    thread.join()
    session.finish()
    assert session.ending() == ("ended", signal.SIGKILL)


def change_and_wait() -> None:
    os.chdir("/drive/x")
    signal.pause()


@pytest.mark.parametrize("delay_us", [0, 10, 20, 40, 80, 160])
def test_a_program_killed_in_the_middle_is_left_to_its_parent(delay_us: int) -> None:
    """The redirect ends, and init gets the wait status: nobody else has taken it."""
    with running(change_and_wait) as session:

        def kill() -> None:
            until = time.perf_counter() + delay_us / 1e6
            while time.perf_counter() < until:
                pass
            os.kill(session.program, signal.SIGKILL)

        killed(session, kill)
