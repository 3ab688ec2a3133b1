"""What /proc says of a process and its parents."""

from __future__ import annotations

import os

NOT_OURS = (
    "/proc is not that of this pid namespace, so that a program's working directory and memory cannot be told from "
    "another's; mount it: unshare --mount-proc, or mount -t proc proc /proc"
)


def is_ours() -> bool:
    """Whether /proc shows processes by the pids that they have for this one."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def state_and_parent(pid: int) -> tuple[str, int]:
    """The state letter and the parent's pid in /proc/PID/stat, see proc(5); ("", 0) of a process that is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent = file.read().rpartition(b")")[2].split()[:2]
    except (OSError, ValueError):
        return "", 0
    return state.decode(), int(parent)


def is_stopped(pid: int) -> bool:
    """Whether a job-control stop holds the process; one that is only being traced (t) goes on by itself."""
    return state_and_parent(pid)[0] == "T"


def descends_from(pid: int, ancestor: int) -> bool:
    """Whether `pid` is `ancestor`, or a child of it at any depth."""
    while pid > 1 and pid != ancestor:
        pid = state_and_parent(pid)[1]
    return pid == ancestor


def children(pid: int) -> list[int]:
    """The children of a process, as far as /proc shows them."""
    return [child for child, parent in _parents().items() if parent == pid]


def descendants(pid: int) -> list[int]:
    """The children of a process at any depth, parents before their children."""
    below: dict[int, list[int]] = {}
    for child, parent in _parents().items():
        below.setdefault(parent, []).append(child)
    found = [pid]
    for each in found:
        found += below.pop(each, [])
    return found[1:]


def _parents() -> dict[int, int]:
    try:
        names = os.listdir("/proc")
    except OSError:
        return {}
    return {int(name): state_and_parent(int(name))[1] for name in names if name.isdecimal()}
