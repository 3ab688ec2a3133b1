"""Runs a program in a session without drives: every trapped call is continued. `continuing.py MODE CMD [ARG...]`.

The modes: ``plain``; ``refuse`` ends before "go"; ``crash`` dies of an exception at the first call; ``pending`` says
that files could not be pushed; ``slow`` never finishes pushing; ``hang`` never says "go"; ``keep`` is ``plain``,
and the program is to run on when the broker dies.
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


def session(mode: str) -> Serve:
    def serve(settings: Settings, listener: int, ready: Callable[[], None], front: socket.socket) -> None:
        if mode == "refuse":
            raise SetupError("/drive (file:///none): not there; check the remote")
        if mode == "hang":
            signal.pause()
        ready()
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(front, select.POLLIN)
        running = asking = True
        while running or asking:
            for number, events in poll.poll():
                if number == front.fileno():
                    asking, open_ = answer(front, mode)
                    if not open_:
                        poll.unregister(front)
                elif events & select.POLLHUP:
                    running = False
                    poll.unregister(listener)
                elif mode == "crash":
                    raise RuntimeError("the session is broken")
                else:
                    proceed(listener)

    return serve


def answer(front: socket.socket, mode: str) -> tuple[bool, bool]:
    """Whether the session waits for the front still, and whether there is more to hear from it."""
    message = front.recv(100)
    if message == b"ended" and mode != "slow":
        pending = PENDING if mode == "pending" else []
        front.send(b"pushed" + json.dumps(pending).encode())
    return message in (b"ended", b"ask") and mode == "slow", message not in (b"", b"abandon")


def proceed(listener: int) -> None:
    notification = bytearray(80)
    with contextlib.suppress(OSError):
        fcntl.ioctl(listener, RECEIVE, notification)
        native.send(listener, struct.unpack_from("Q", notification)[0], 0, 0, CONTINUE)


def main() -> int:
    mode, *argv = sys.argv[1:]
    return run(Settings((), "/nowhere", 1), argv, lambda: session(mode), keep_running=mode == "keep")


sys.exit(main())
