"""The processes of a running session and their memory, as proc(5) has them."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from measure import Bench


@dataclass(frozen=True, slots=True)
class Waiting:
    """A session whose program waits: the processes that are ours."""

    broker: int
    ours: tuple[int, ...]


@contextlib.contextmanager
def waiting(setting: Bench, script: str, *, remote: Path | str, environment: Mapping[str, str]) -> Iterator[Waiting]:
    """A session whose shell has run `script`, and waits until the context is left."""
    argv = setting.under_exec("sh", "-c", f"{script} && echo $$ && read line", remote=remote)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as session:
        assert session.stdout is not None
        program = int(session.stdout.readline())
        ours = tuple(pid for pid in _descendants(session.pid) if pid != program)
        yield Waiting(next(pid for pid in ours if _holds_listener(pid)), ours)
        session.communicate(b"\n")


def resident(pid: int, line: str = "VmRSS") -> float:
    """MB (10^6 bytes) that are in memory now, or with VmHWM that were at most."""
    for found in Path(f"/proc/{pid}/status").read_text().splitlines():
        if found.startswith(f"{line}:"):
            return int(found.split()[1]) * 1024 / 1e6
    return 0.0


def _descendants(pid: int) -> list[int]:
    """`pid` and all below it, as /proc/PID/task/TID/children has them."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += _descendants(int(child))
    return found


def _holds_listener(pid: int) -> bool:
    return any("seccomp notify" in str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())
