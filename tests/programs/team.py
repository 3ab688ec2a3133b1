"""A team's server on PostgreSQL and SeaweedFS, behind a recorder, and the machines of its users."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.broker.drive.metadata.postgresql import running
from tests.broker.drive.seaweed import Seaweed, free_ports
from tests.broker.drive.server.serving import ServerProcess

from .recording import Recorder
from .sides import seccomp_drive


@dataclass(frozen=True)
class Team:
    """`url` is where users reach the server; what passes there is kept."""

    url: str
    database: str
    seaweed: Seaweed
    server: ServerProcess
    recorder: Recorder

    def fsck(self) -> str:
        """What the administrator's check of the store says."""
        command = seccomp_drive("fsck", "--meta", self.database, "--blobs", self.seaweed.url)
        environment = {**os.environ, **self.seaweed.environment}
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True).stdout


@contextlib.contextmanager
def team(folder: Path) -> Iterator[Team]:
    """Everything on free ports of the loopback, gone at the end of the block."""
    seaweed = Seaweed(str(folder / "seaweed"))
    (folder / "seaweed").mkdir()
    with running() as postgresql, contextlib.ExitStack() as stack:
        seaweed.start()
        stack.callback(seaweed.stop)
        (port,) = free_ports(1)
        recorder = Recorder(port)
        stack.callback(recorder.close)
        url = f"http://127.0.0.1:{recorder.port}"
        database = postgresql.new_database()
        more = ("--origin", url, "--listen", f"127.0.0.1:{port}")
        server = ServerProcess(str(folder), database, seaweed.url, *more, env=seaweed.environment)
        server.start()
        stack.callback(server.stop)
        yield Team(url, database, seaweed, server, recorder)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where one user works: a home of his own, in which seccomp-drive keeps its files."""

    home: Path

    @property
    def environment(self) -> Mapping[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "TZ") if name in os.environ}
        return {**kept, "HOME": str(self.home), "LC_ALL": "C.UTF-8", "TERM": "xterm"}

    def drive(self, *words: str, status: int = 0, text: bytes = b"", seconds: float = 120) -> bytes:
        """Standard output of seccomp-drive with these words; it must end with that status."""
        __tracebackhide__ = True
        done = subprocess.run(
            seccomp_drive(*words),
            input=text,
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            timeout=seconds,
        )
        assert done.returncode == status, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    def said(self, *words: str, status: int = 125) -> str:
        """Standard error instead."""
        done = subprocess.run(
            seccomp_drive(*words), env=self.environment, cwd=self.home, capture_output=True, text=True
        )
        assert done.returncode == status, (words, done)
        return done.stderr

    def run(self, *command: str, status: int = 0, text: bytes = b"") -> bytes:
        """Standard output of a program with drives."""
        __tracebackhide__ = True
        return self.drive("exec", "--", *command, status=status, text=text)

    def shell(self, script: str, status: int = 0) -> bytes:
        __tracebackhide__ = True
        return self.run("bash", "-ec", script, status=status)


def machine(folder: Path) -> Machine:
    folder.mkdir()
    return Machine(folder)


def forms(secret: bytes) -> Sequence[bytes]:
    """How bytes may look where they have leaked."""
    from base64 import b32encode, b64encode, urlsafe_b64encode
    from urllib.parse import quote_from_bytes

    encoded = [b64encode(secret)[:-4], urlsafe_b64encode(secret)[:-4], b32encode(secret).rstrip(b"=")[:-2]]
    return [secret, secret.hex().encode(), quote_from_bytes(secret).encode(), *encoded]
