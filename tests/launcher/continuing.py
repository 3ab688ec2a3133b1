"""Runs a program in a session without drives: every trapped call is continued. `continuing.py MODE CMD [ARG...]`.

The modes: ``plain``; ``refuse`` ends before "go"; ``crash`` dies of an exception at the first call; ``pending`` says
that files could not be pushed; ``slow`` never finishes pushing; ``hang`` never says "go". The broker's pid is written
to descriptor 9 if that is open.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))

from broker.errors import SetupError
from broker.kernel import native
from broker.settings import Settings
from launcher.spawn import Serve, run

RECEIVE = 0xC0502100
CONTINUE = 1
PENDING = [f"/drive/{number}" for number in range(12)]


def session(mode: str, report: int | None) -> Serve:
    def serve(settings: Settings, listener: int, ready: Callable[[], None], front: socket.socket) -> None:
        if report is not None:
            os.write(report, str(os.getpid()).encode())
            os.close(report)
        if mode == "refuse":
            raise SetupError("/drive (file:///none): not there; check the remote")
        if mode == "hang":
            signal.pause()
        ready()
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(front, select.POLLIN)
        running, asked = True, False
        while running or not asked:
            for number, events in poll.poll():
                if number == front.fileno():
                    asked = True
                    if answer(front, mode):
                        poll.unregister(front)
                elif events & select.POLLHUP:
                    running = False
                    poll.unregister(listener)
                elif mode == "crash":
                    raise RuntimeError("the session is broken")
                else:
                    proceed(listener)

    return serve


def answer(front: socket.socket, mode: str) -> bool:
    """Whether there is nothing more to hear from the front."""
    message = front.recv(100)
    if message == b"ended" and mode != "slow":
        pending = PENDING if mode == "pending" else []
        front.send(b"pushed" + json.dumps({"pending": pending}).encode())
    return message in (b"", b"abandon")


def proceed(listener: int) -> None:
    notification = bytearray(80)
    with contextlib.suppress(OSError):
        fcntl.ioctl(listener, RECEIVE, notification)
        native.send(listener, struct.unpack_from("Q", notification)[0], 0, 0, CONTINUE)


def main() -> int:
    mode, *argv = sys.argv[1:]
    report = None
    with contextlib.suppress(OSError):
        os.fstat(9)
        report = fcntl.fcntl(9, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(9)

    def load() -> Serve:
        return session(mode, report)

    return run(Settings((), "/nowhere", 1), argv, load)


sys.exit(main())
