"""A plan in a test that rules a remote in another process: one connection to a Unix socket for each operation.

The remote says ``{"operation": …, "path": …}`` in one line and waits for a verdict; then it names each further moment
that it reaches and waits again. The verdict is ``{}`` or ``{"error": NAME}``. The end of the connection is the end of
the operation.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType

from broker.remotes import protocol
from broker.remotes.paths import Path
from broker.remotes.protocol import RemoteError

from .plans import PATIENCE, Moment, Passage, Plan


class Control:
    """Serves `plan` on a socket at `path` from a thread of its own, as long as the context lasts."""

    def __init__(self, path: str | os.PathLike[str], plan: Plan) -> None:
        self._path = os.fspath(path)
        self._plan = plan
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._leaving = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Control:
        self._thread.start()
        if not self._listening.wait(PATIENCE):
            raise TimeoutError("the control socket does not listen")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._leaving.set)
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_unix_server(self._attend, self._path)
        self._listening.set()
        await self._leaving.wait()
        server.close()

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = json.loads(await reader.readline())
            async with self._plan.passing(asked["operation"], os.fsencode(asked["path"])) as passage:
                _say(writer, {})
                while line := await reader.readline():
                    await passage.reach(Moment(json.loads(line)["moment"]))
                    _say(writer, {})
        except RemoteError as error:
            _say(writer, {"error": type(error).__name__})
        finally:
            writer.close()


class Controlled:
    """The plan behind the socket at `path`; while nobody listens there, nothing goes wrong."""

    def __init__(self, path: str) -> None:
        self._path = path

    @asynccontextmanager
    async def passing(self, operation: str, path: Path) -> AsyncIterator[Passage]:
        try:
            reader, writer = await asyncio.open_unix_connection(self._path)
        except OSError:
            async with Plan().passing(operation, path) as free:
                yield free
            return
        try:
            passage = _Asking(reader, writer, path)
            await passage.ask({"operation": operation, "path": os.fsdecode(path)})
            yield passage
        finally:
            writer.close()


@dataclass(slots=True)
class _Asking:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    path: Path

    async def reach(self, moment: Moment) -> None:
        await self.ask({"moment": moment.value})

    async def ask(self, question: dict[str, str]) -> None:
        _say(self.writer, question)
        verdict = json.loads(await self.reader.readline() or b"{}")
        if "error" in verdict:
            raise getattr(protocol, verdict["error"])(self.path, "as planned")


def _say(writer: asyncio.StreamWriter, message: dict[str, str]) -> None:
    writer.write(json.dumps(message).encode() + b"\n")
