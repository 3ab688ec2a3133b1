"""The broker's process around the session: it receives the listener, says "go", and reports what prevents that."""

from __future__ import annotations

import gc
import socket
import struct
import traceback
from collections.abc import Callable

from broker.errors import SetupError
from broker.messages import FAILURE, SERVING
from broker.settings import Settings
from launcher.say import FAILED

Serve = Callable[[Settings, int, Callable[[], None], socket.socket], None]
"""broker.session.serve: (settings, listener, ready, front)."""

GO = b"go"


class Serving:
    def __init__(self, front: socket.socket, hand_over: socket.socket) -> None:
        self._front = front
        self._hand_over = hand_over
        self._ready = False

    def run(self, settings: Settings, load: Callable[[], Serve]) -> int:
        """Load the session while the program's process builds its filter, and serve it. The exit status."""
        try:
            serve = load()
            listener = self._receive()
            if listener is not None:
                serve(settings, listener, self._go, self._front)
        except SetupError as error:
            return self._fail(str(error))
        except Exception as error:
            traceback.print_exc()
            return self._fail(f"the session could not start: {error or type(error).__name__}")
        return 0

    def _receive(self) -> int | None:
        """The listener; None when the program's process could not make one."""
        _, ancillary, _, _ = self._hand_over.recvmsg(16, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        listener: int | None = struct.unpack("i", ancillary[0][2])[0] if ancillary else None
        return listener

    def _go(self) -> None:
        self._ready = True
        gc.freeze()
        gc.enable()
        self._front.send(SERVING)
        try:
            self._hand_over.send(GO)
        except BrokenPipeError:
            pass  # the program was ended by a signal while it waited
        self._hand_over.close()

    def _fail(self, message: str) -> int:
        if not self._ready:
            self._front.send(FAILURE + message.encode(errors="backslashreplace")[:60_000])
        return FAILED
