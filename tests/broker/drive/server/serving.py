"""Servers for tests: in this process, or in one of their own that can be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from broker.drive.blobs.opening import open_blobs
from broker.drive.blobs.protocol import BlobStore
from broker.drive.metadata.accounts import Terms
from broker.drive.metadata.serving import MetadataServer
from broker.drive.metadata.store import SqlStore, open_store
from broker.drive.server.app import Serving, application
from broker.drive.server.limits import Limits
from tests.broker.drive.seaweed import free_ports

ROOT = os.path.dirname(os.path.abspath(__file__)).removesuffix("/tests/broker/drive/server")


@dataclass(frozen=True)
class Served:
    """A server in this process, with what it stands on."""

    url: str
    metadata: SqlStore
    blobs: BlobStore


@asynccontextmanager
async def served(
    metadata: str, blobs: str | BlobStore, *, invitation: bool = False, links: bool = False, **limits: Any
) -> AsyncIterator[Served]:
    """On a free port of the loopback, on the test's own loop."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    store = await open_store(metadata, create=True, terms=Terms(url, invitation))
    kept = open_blobs(blobs) if isinstance(blobs, str) else blobs
    linked = kept if links else None
    serving = Serving(url, invitation, linked, Limits(**limits))
    async with listening(store, kept, serving, port):
        yield Served(url, store, kept)


@asynccontextmanager
async def listening(metadata: MetadataServer, blobs: BlobStore, serving: Serving, port: int) -> AsyncIterator[None]:
    app = application(metadata, blobs, serving)
    config = uvicorn.Config(app, "127.0.0.1", port, http="h11", lifespan="on", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        assert not running.done(), "the server has not started"
        await asyncio.sleep(0.005)
    try:
        yield
    finally:
        server.should_exit = True
        await running


class ServerProcess:
    """`seccomp-drive serve` as its users run it, on a port that stays the same."""

    def __init__(
        self, folder: str, metadata: str, blobs: str, *more: str, env: Mapping[str, str] | None = None
    ) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = f"{folder}/server-{self.port}.log"
        self._words = ["serve", "--meta", metadata, "--blobs", blobs, "--listen", f"127.0.0.1:{self.port}", *more]
        self._env = env or {}
        self.prefix: list[str] = []
        """The command in whose surroundings it runs."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        with open(self._log) as log:
            return log.read()

    def start(self, patience: float = 60) -> None:
        """Returns when it listens."""
        before = self.log.count("serving at") if os.path.exists(self._log) else 0
        program = "import sys; from launcher.cli import main; sys.exit(main(sys.argv[1:]))"
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [*self.prefix, sys.executable, "-c", program, *self._words],
                cwd=ROOT,
                env={**os.environ, **self._env},
                stderr=log,
            )
        deadline = time.monotonic() + patience
        while self.log.count("serving at") == before:
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def kill(self) -> None:
        """As a crash would: nothing is tidied up."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """As its administrator would; the exit status."""
        if self._process is None:
            return 0
        self.signal(signal.SIGTERM)
        return self.wait()

    def signal(self, number: int) -> None:
        assert self._process
        self._process.send_signal(number)

    def wait(self) -> int:
        assert self._process
        status = self._process.wait(90)
        self._process = None
        return status


def words_of(log: str) -> Sequence[str]:
    """The lines of a server's log that are its own."""
    return [line for line in log.splitlines() if line.startswith("{")]
