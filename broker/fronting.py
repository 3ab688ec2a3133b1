"""The broker's side of its channel to the front: when to push all, and what could not be pushed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping

from msgspec import json

from broker.messages import ASK, ENDED, LEFT, PUSHED
from broker.mirror.mirror import Mirror
from broker.namespace.mounts import Mounts
from broker.progress import Display
from broker.telling import named

_LIST_MAX = 60_000
"""Bytes of JSON that the front is told at most of what could not be pushed."""


class Fronting:
    """`answered` is set when the front knows all, or has gone: then nobody may wait for our standard descriptors."""

    def __init__(self, front: socket.socket, mounts: Mounts, mirrors: Mapping[int, Mirror], display: Display) -> None:
        self._front = front
        self._mounts = mounts
        self._mirrors = mirrors
        self._display = display
        self._pushing: asyncio.Task[None] | None = None
        self.answered = asyncio.Event()

    async def attend(self) -> None:
        """Answer until the front has gone."""
        self._front.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            with contextlib.suppress(OSError):
                while message := await loop.sock_recv(self._front, 64):
                    if message == ENDED and self._pushing is None:
                        self._pushing = asyncio.ensure_future(self._push())
                    elif message == ASK:
                        await loop.sock_sendall(self._front, LEFT + listed(self._left()))
            _let_go()
        finally:
            self.answered.set()

    async def _push(self) -> None:
        """Push all, and be silent before the front ends: what is said later would surprise whoever types by then."""
        pending = []
        with self._display.line("pushing", None, lambda: f"{self._count()} files left"):
            for mount in self._mounts:
                left = await self._mirrors[mount.number].recovery.finish()
                pending += [named(mount.prefix, path) for path in left]
        if os.getppid() != 1:  # as PID 1 the front stays, for the programs in the background
            _let_go()
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self._front, PUSHED + listed(pending))
        self.answered.set()

    def _count(self) -> int:
        return sum(mirror.writeback.count for mirror in self._mirrors.values())

    def _left(self) -> list[str]:
        return [
            named(mount.prefix, path)
            for mount in self._mounts
            for path in self._mirrors[mount.number].writeback.unpushed()
        ]


def listed(paths: list[str]) -> bytes:
    """The JSON of a list of paths, with the count of those that there is no room for."""
    fitting: list[str] = []
    room = _LIST_MAX
    for path in paths:
        room -= len(json.encode(path)) + 2
        if room < 0:
            fitting.append(f"and {len(paths) - len(fitting)} more")
            break
        fitting.append(path)
    return json.encode(fitting)


def _let_go() -> None:
    """Put /dev/null over the standard descriptors: the reader of a pipe waits until all have closed it."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)
