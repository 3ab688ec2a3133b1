"""A drive with a faulty remote, the programs on it, and what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.broker.remotes.control import Control
from tests.broker.remotes.plans import Plan

from . import processes

COMMAND = [sys.executable, "-P", str(Path(__file__).with_name("faulty.py"))]
SECONDS = 30
"""After which something that should have ended hangs."""


@dataclass(frozen=True, slots=True)
class FaultyDrive:
    """A drive at `prefix` with the content of the folder `share`; `plan` rules its remote."""

    base: Path
    prefix: str
    plan: Plan

    @property
    def share(self) -> Path:
        return self.base / "share"

    @property
    def mount(self) -> str:
        return f"{self.prefix}=faulty+{self.share.as_uri()}?control={self.base}/control"

    @property
    def environment(self) -> dict[str, str]:
        return {
            processes.MARK: str(self.base),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.base),
            "XDG_CACHE_HOME": str(self.base / "cache"),
            "DRIVE": self.prefix,
            "LC_ALL": "C.UTF-8",
        }

    def exec(self, *argv: str, timeout: float | None = None) -> list[str]:
        """The command line; with `timeout`, seconds, by a policy that says so."""
        if timeout is None:
            return [*COMMAND, "exec", "-m", self.mount, "--", *argv]
        prefix, _, remote = self.mount.partition("=")
        policy = self.base / "policy.toml"
        policy.write_text(f'[[mount]]\nprefix = "{prefix}"\nremote = "{remote}"\ntimeout = {timeout}\n')
        return [*COMMAND, "exec", "-p", str(policy), "--", *argv]

    def start(self, *argv: str, timeout: float | None = None) -> subprocess.Popen[str]:
        """`argv` under `exec`, with pipes."""
        return self._popen(self.exec(*argv, timeout=timeout))

    def python(self, script: str, *arguments: str, timeout: float | None = None) -> subprocess.Popen[str]:
        """A Python program whose working directory is the drive."""
        script = f"import os, signal, sys; os.chdir(os.environ['DRIVE'])\n{script}"
        return self.start("python3", "-uc", script, *arguments, timeout=timeout)

    def sync(self) -> subprocess.Popen[str]:
        return self._popen([*COMMAND, "sync", "-m", self.mount])

    def status(self) -> subprocess.Popen[str]:
        return self._popen([*COMMAND, "status", "-m", self.mount])

    def _popen(self, argv: list[str]) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            argv, env=self.environment, cwd=self.base, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )


@pytest.fixture(name="drive")
def faulty_drive() -> Iterator[FaultyDrive]:
    """An empty drive, in a folder with a short name, since socket paths must fit into 108 bytes."""
    base = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    drive = FaultyDrive(base, f"/drive-{base.name}", Plan())
    for folder in ("share", "cache"):
        (base / folder).mkdir()
    try:
        with Control(base / "control", drive.plan):
            yield drive
    finally:
        processes.end(base)
        shutil.rmtree(base)


def ended(process: subprocess.Popen[str], status: int, text: str | None = None) -> tuple[str, str]:
    """Give the last of its input to `process`; what it said on stdout and stderr, having ended with `status`."""
    __tracebackhide__ = True
    out, err = process.communicate(text, SECONDS)
    assert process.returncode == status, f"{process.returncode}; stdout: {out!r}; stderr: {err!r}"
    return out, err


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line, and no byte more: communicate() does not see what a buffered reader has taken already."""
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(process.stdout.fileno(), 1)):
        line += byte
    return line.decode()


def nothing_left(drive: FaultyDrive) -> bool:
    """Whether the command and its programs go, and without being helped."""
    return not processes.gone(drive.base, SECONDS)
