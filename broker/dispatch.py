"""One task per trapped call that has to wait: from the lane's queue to a handler, and its reply to the kernel."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import time
from collections.abc import Callable, Mapping

from broker.answering import ERESTARTSYS, Answerer
from broker.eager import start
from broker.errors import errno_of
from broker.kernel import native
from broker.kernel.lane import Trapped
from broker.kernel.tracee import Tracee
from broker.syscalls.arguments import verdict
from broker.syscalls.attributes import Handler
from broker.syscalls.call import Call, Services
from broker.syscalls.reply import Continue, Fail, Reply, Unserved
from broker.table import TABLE, Row
from broker.telling import shown

_ATTEMPTS = 50
"""How often a call is begun anew at most, because the folder that its path begins in is moved all the time."""
_GLANCE = 0.05
"""Seconds between two looks at the pending signals of those who wait."""


class Dispatcher:
    """Serves what the lane hands over until no process is left under the filter."""

    def __init__(
        self,
        services: Services,
        handlers: Mapping[str, Handler],
        answerer: Answerer,
        tell_once: Callable[[str], None],
    ) -> None:
        self._services = services
        self._answerer = answerer
        self._tell_once = tell_once
        self._rows: dict[tuple[int, int], tuple[Row, Handler]] = {}
        for row in TABLE:
            for arch, number in ((native.AUDIT_ARCH_X86_64, row.x86_64), (native.AUDIT_ARCH_I386, row.i386)):
                if number is not None:
                    self._rows[arch, number] = row, handlers[row.name]
        self._waiting: dict[asyncio.Task[None], Call] = {}
        self.ended = asyncio.Event()

    async def serve(self) -> None:
        """Run until the last process under the filter is gone and the last call has been answered."""
        loop = asyncio.get_running_loop()
        lane = self._services.lane
        loop.add_reader(lane.event, self._take)
        glancing = asyncio.ensure_future(self._glance())
        lane.start()
        try:
            try:
                await self.ended.wait()
            finally:
                loop.remove_reader(lane.event)
                lane.stop()
            if self._waiting:
                await asyncio.wait(set(self._waiting))
        finally:
            glancing.cancel()

    def _take(self) -> None:
        for trapped in self._services.lane.take():
            try:
                self._begin(trapped)
            except Exception as error:  # one that cannot even be begun must not cost those behind it
                self._refuse(trapped, error)
        if self._services.lane.ended:
            self.ended.set()

    def _begin(self, trapped: Trapped) -> None:
        row, handler = self._rows[trapped.arch, trapped.number]
        call = Call(trapped, row, self._services)
        task = start(self._serve(call, handler))
        if task is not None:
            self._waiting[task] = call
            task.add_done_callback(self._waiting.pop)

    async def _serve(self, call: Call, handler: Handler) -> None:
        try:
            reply = await self._reply(call, handler)
            call.protect()  # a redirect uses descriptors of ours until it has ended
            await self._answerer.answer(call, reply)
        except Exception as error:
            self._refuse(call.trapped, error)

    async def _reply(self, call: Call, handler: Handler) -> Reply:
        """What the handler answers; anew where a relative path was not found in a folder that was moved meanwhile:
        to the kernel the folder is the descriptor, to us the path that it had."""
        for _ in range(_ATTEMPTS):
            reply = await self._attempt(call, handler)
            if reply != Fail(errno.ENOENT) or not call.was_moved():
                break
        return reply

    async def _attempt(self, call: Call, handler: Handler) -> Reply:
        """What the handler answers, or the errno of what it raises."""
        try:
            return await handler(call)
        except asyncio.CancelledError:
            return Fail(ERESTARTSYS)
        except native.Unreadable:
            self._tell_once(_hidden(call.tracee))
            return Continue()
        except Unserved as error:
            self._tell_once(error.why)
            return _failure(call, error)
        except OSError as error:
            return _failure(call, error)
        except Exception as error:
            return Fail(errno_of(error))

    def _refuse(self, trapped: Trapped, error: Exception) -> None:
        """The last resort: nobody waits for ever. What has been answered, or is gone, is not answered again."""
        with contextlib.suppress(OSError):
            native.send(self._services.listener, trapped.cookie, 0, -errno_of(error), 0)

    async def _glance(self) -> None:
        """End the waiting of those whom a signal wants to reach, or has killed; once, as that may take a while.

        WAIT_KILLABLE_RECV lets only fatal signals through once a call was received. SigPnd is the thread's own;
        ShdPnd may be meant for another thread, unless there is none.
        """
        while True:
            await asyncio.sleep(_GLANCE)
            now = time.monotonic()
            for task, call in list(self._waiting.items()):
                if now - call.began > _GLANCE and call.interruptible.allowed and self._disturbed(call.trapped):
                    call.protect()
                    task.cancel()

    def _disturbed(self, trapped: Trapped) -> bool:
        return not native.id_valid(self._services.listener, trapped.cookie) or _signalled(trapped)


def _hidden(tracee: Tracee) -> str:
    """What the user is told of a process that the kernel lets nobody look into; its calls are the kernel's."""
    return (
        f"no drive for {shown(tracee.name)}: it has changed its ids without an exec since, or may not be looked into "
        "(PR_SET_DUMPABLE); give CAP_SYS_PTRACE, to a container by --cap-add SYS_PTRACE"
    )


def _failure(call: Call, error: OSError) -> Reply:
    """What the kernel would have found wrong before it came to the error."""
    try:
        return verdict(call) or Fail(errno_of(call.way.judged(error)))
    except Exception as unexpected:
        return Fail(errno_of(unexpected))


def _signalled(trapped: Trapped) -> bool:
    with contextlib.suppress(OSError):
        status = native.status(trapped.tid)
        pending = status.pending | (status.shared_pending if status.threads == 1 else 0)
        return bool(pending & ~status.blocked & ~status.ignored)
    return False
