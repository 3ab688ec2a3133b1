"""Turning a handler's reply into ioctls: the one place where the tracee is changed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Callable

from broker.kernel import native
from broker.pools import pool
from broker.remotes.protocol import RemoteError
from broker.syscalls.call import Call
from broker.syscalls.reply import Continue, Fail, InstallFd, Redirect, Reply, Return
from broker.table import RANGE_END, RANGE_START

_CONTINUE = 1
"""SECCOMP_USER_NOTIF_FLAG_CONTINUE."""
ERESTARTSYS = 512
"""The kernel restarts, interrupts or stops the call as the signal's handler asks (signal(7))."""
_TRACERS = 4
_AGAIN = 0.005
"""Seconds after which a thread that another redirect of ours still holds is tried again."""
_PATIENCE = 2.0


class Answerer:
    """Replies for one listener. The loop's thread has all signals blocked, as ADDFD needs."""

    def __init__(self, listener: int, tell_once: Callable[[str], None]) -> None:
        self._listener = listener
        self._tell_once = tell_once
        self._tracers = pool(_TRACERS, "redirect")
        self._next = RANGE_START

    async def answer(self, call: Call, reply: Reply) -> None:
        """Send the reply. ENOENT, the call is gone, is no error: what was to be handed over is closed."""
        cookie = call.trapped.cookie
        try:
            match reply:
                case Continue():
                    native.send(self._listener, cookie, 0, 0, _CONTINUE)
                case Return(value, memory):
                    self._write(call, memory)
                    native.send(self._listener, cookie, value, 0, 0)
                case Fail(number):
                    native.send(self._listener, cookie, 0, -number, 0)
                case InstallFd():
                    installed = self._install(call, reply)
                    if installed is None:
                        native.send(self._listener, cookie, 0, 0, _CONTINUE)
                    else:
                        native.send(self._listener, cookie, installed, 0, 0)
                case Redirect():
                    await self._redirect(call, reply)
        except OSError as error:
            if isinstance(reply, InstallFd | Redirect) and reply.undo is not None:
                with contextlib.suppress(OSError, RemoteError):
                    await reply.undo()
            if error.errno in (errno.ENOENT, errno.ESRCH):
                return
            native.send(self._listener, cookie, 0, -(error.errno or errno.EIO), 0)

    def close(self) -> None:
        self._tracers.shutdown(wait=False)

    def _write(self, call: Call, memory: tuple[tuple[int, bytes | bytearray], ...]) -> None:
        if memory and not native.id_valid(self._listener, call.trapped.cookie):
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        for address, data in memory:
            if data:
                native.write_memory(call.trapped.tid, address, data)

    def _install(self, call: Call, reply: InstallFd) -> int | None:
        """Inject, close the broker's copy, and only then reply: else exec sees ETXTBSY and locks linger.

        None: the kernel is to make the copy itself.
        """
        cookie = call.trapped.cookie
        try:
            chosen = self._choose(call, reply.least or 0) if reply.ranged else None
            if chosen is not None:
                try:
                    return native.add_fd(self._listener, cookie, reply.fd, chosen, reply.cloexec)
                except OSError as error:
                    if error.errno not in (errno.EBADF, errno.EMFILE):
                        raise
            if reply.least is not None:
                return None
            return native.add_fd(self._listener, cookie, reply.fd, None, reply.cloexec)
        finally:
            os.close(reply.fd)

    def _choose(self, call: Call, least: int) -> int | None:
        """A free number of the range; None where a standard descriptor is free, which the program may count on.

        Choosing and injecting happen without a pause on the loop's one thread, so nobody else injects between.
        """
        free = call.tracee.free_number
        if free(least, 2) is not None:
            return None
        start = max(self._next, least, RANGE_START)
        number = free(start, RANGE_END)
        if number is None:
            number = free(max(least, RANGE_START), start - 1)
        if number is not None:
            self._next = number + 1 if number < RANGE_END else RANGE_START
        return number

    async def _redirect(self, call: Call, reply: Redirect) -> None:
        tgid = call.tracee.status.tgid
        loop = asyncio.get_running_loop()
        until = time.monotonic() + _PATIENCE
        try:
            while True:
                try:
                    result = await loop.run_in_executor(self._tracers, self._trace, call, reply, tgid)
                    if result < 0 and reply.undo is not None:
                        await reply.undo()
                    return
                except PermissionError:
                    if not _traced_by_us(tgid, call.trapped.tid) or time.monotonic() > until:
                        raise
                    await asyncio.sleep(_AGAIN)
        except PermissionError:
            if reply.failure:
                raise OSError(reply.failure, os.strerror(reply.failure)) from None
            self._tell_once(
                f"{call.row.name} on a drive needs ptrace, which is refused for process {tgid}: "
                "detach its debugger, or see `seccomp-drive check`"
            )
            raise
        finally:
            for file in (reply.fd, reply.kept):
                if file is not None and file >= 0:
                    os.close(file)

    def _trace(self, call: Call, reply: Redirect, tgid: int) -> int:
        trapped = call.trapped
        return native.redirect(
            self._listener,
            trapped.cookie,
            trapped.tid,
            tgid,
            trapped.arch,
            reply.fd,
            reply.number,
            reply.arguments,
            reply.fd_argument,
            reply.failure,
        )


def _traced_by_us(tgid: int, tid: int) -> bool:
    with open(f"/proc/{tgid}/task/{tid}/status") as lines:
        tracer = next((int(line.split()[1]) for line in lines if line.startswith("TracerPid:")), 0)
    return tracer != 0 and os.path.exists(f"/proc/{os.getpid()}/task/{tracer}")
