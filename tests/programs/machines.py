"""Several sessions on one share: on one machine they have a cache in common, on two they have one each."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import processes
from .sides import seccomp_drive


@dataclass(slots=True)
class Session:
    """A running `exec`, with what it says on stdout and stderr in files."""

    machine: str
    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def ended(self, status: int, seconds: float = 60) -> str:
        """Wait for the end; what it said on stdout."""
        __tracebackhide__ = True
        found = self.process.wait(seconds)
        assert found == status, f"{found}; stdout: {self.out.read_text()[-500:]}; stderr: {self.said[-2000:]}"
        return self.out.read_text()

    def answer(self, text: str, seconds: float = 30) -> None:
        """Wait until it has said `text` on stdout."""
        deadline = time.monotonic() + seconds
        while text not in self.out.read_text():
            assert self.process.poll() is None and time.monotonic() < deadline, f"no {text!r}; {self.said}"
            time.sleep(0.01)

    def go_on(self) -> None:
        """Give it a line of input."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    @property
    def said(self) -> str:
        return self.err.read_text(errors="backslashreplace")


@dataclass(slots=True)
class Machines:
    """Machines with one remote at `prefix`, in a scenario of its own: the folder `share`, or an encrypted drive."""

    base: Path
    prefix: str
    encrypted: bool = False
    ttl: float = 0.2
    """Seconds after which one machine sees the names of another; content it sees at once."""
    sessions: list[Session] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.share.mkdir()
        self.policy.write_text(f'[[mount]]\nprefix = "{self.prefix}"\nremote = "{self.remote}"\nttl = {self.ttl}\n')

    @property
    def remote(self) -> str:
        """Its URL."""
        return f"drive://{self.base}/drive" if self.encrypted else self.share.as_uri()

    @property
    def share(self) -> Path:
        return self.base / "share"

    @property
    def policy(self) -> Path:
        return self.base / "policy.toml"

    def cache(self, machine: str) -> Path:
        return self.base / f"cache-{machine}"

    def mirror(self, machine: str) -> Path:
        """The folder of the machine's mirror, which its first session has made."""
        (found,) = (self.cache(machine) / "seccomp-drive" / "mirrors").iterdir()
        return found

    def start(self, machine: str, *argv: str, stdin: int = subprocess.DEVNULL) -> Session:
        """Run `argv` under an `exec` on that machine, with the drive as its working directory."""
        out, err = (self.base / f"{kind}-{len(self.sessions)}" for kind in ("out", "err"))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [
                    *seccomp_drive("exec", "-p", str(self.policy), "--"),
                    *("sh", "-c", 'cd "$DRIVE" && exec "$@"', "sh", *argv),
                ],
                env=self.environment(machine),
                cwd=self.base,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
            )
        session = Session(machine, process, out, err)
        self.sessions.append(session)
        return session

    def python(self, machine: str, script: str) -> Session:
        """A Python program that may wait for `go_on` by ``input()``."""
        return self.start(machine, "python3", "-uc", f"import fcntl, os\n{script}", stdin=subprocess.PIPE)

    def environment(self, machine: str) -> dict[str, str]:
        return {
            processes.MARK: str(self.base),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.base),
            "XDG_CACHE_HOME": str(self.cache(machine)),
            "XDG_STATE_HOME": str(self.base / f"state-{machine}"),
            "DRIVE": self.prefix,
            "LC_ALL": "C.UTF-8",
        }

    def clean(self) -> None:
        """Kill what is left."""
        processes.end(self.base)
        for session in self.sessions:
            session.process.wait()
