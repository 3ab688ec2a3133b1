"""A drive whose session's processes a test can get at, and run into trouble."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from broker.maintenance import sync
from launcher.policy import load

from . import processes
from .sides import seccomp_drive


@dataclass(frozen=True, slots=True)
class Place:
    """`encrypted`: behind the prefix is an embedded drive, and `share` what `copy_out` has found there."""

    base: Path
    encrypted: bool = False

    @property
    def prefix(self) -> str:
        return f"/drive-{self.base.name}"

    @property
    def share(self) -> Path:
        return self.base / "share"

    @property
    def mount(self) -> str:
        return f"{self.prefix}={f'drive://{self.base}/drive' if self.encrypted else self.share.as_uri()}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            processes.MARK: str(self.base),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.base),
            "XDG_CACHE_HOME": str(self.base / "cache"),
            "XDG_STATE_HOME": str(self.base / "state"),
        }

    def start(self, *argv: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """`argv` under `exec`."""
        command = seccomp_drive("exec", "-p", self.policy(), "-m", self.mount, "--", *argv)
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, stdin=stdin, stdout=pipe, stderr=pipe, text=True)

    def sync(self) -> int:
        return sync(load(self.policy(), [self.mount], self.environment))

    def run(self, command: str, *argv: str) -> str:
        """What another command of seccomp-drive says on standard output; it must end with 0."""
        words = seccomp_drive(command, "-p", self.policy(), "-m", self.mount, *argv)
        return subprocess.run(words, env=self.environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    def copy_out(self) -> None:
        """Have what is on the drive in `share`, as a session with an empty cache sees it."""
        shutil.rmtree(self.share)
        shutil.rmtree(self.base / "cache")
        self.run("exec", "--", "cp", "-a", self.prefix, str(self.share))

    def policy(self, limit: int | None = None) -> str:
        """The policy file; with `limit`, it sets that many bytes for the cache from now on."""
        path = self.base / "policy.toml"
        if limit is not None or not path.exists():
            path.write_text(f"[cache]\nlimit = {limit or 10 << 30}\n")
        return str(path)


def tree_of(front: int) -> dict[str, int]:
    """The pids of a session by what they are; the program's own is the last that was forked."""
    (broker,) = children(front)
    (init,) = children(broker)
    (program,) = children(init)
    return {"front": front, "broker": broker, "init": init, "program": program}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
