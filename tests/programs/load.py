"""Many processes in several sessions do random operations; a plain folder tells what must come of them.

``python -m tests.programs.load --minutes 120`` is the long run.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .backings import tree
from .machines import Machines, Session
from .nodes import in_folder
from .trees import snapshot

CHURN = str(Path(__file__).parent / "sources" / "churn.py")


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is to do. Each of the `processes` keeps about a hundred files."""

    sessions: str = "aab"
    """The machine of each session."""
    processes: int = 200
    operations: int = 100
    """Of each process in each round."""
    seconds: float = 60.0
    """After which no further round begins; there are two at least."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Size:
    """What a broker takes: resident memory in bytes, descriptors, threads."""

    memory: int
    files: int
    threads: int


class Churn:
    """`churn.py` in one session, or natively."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path) -> None:
        self.process = process
        self._out = out.open()

    def go(self, turn: int, workers: Sequence[int]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write((" ".join(map(str, [turn, *workers])) + "\n").encode())
        self.process.stdin.flush()

    def wait(self, turn: int) -> None:
        while not (line := self._out.readline()).endswith("\n"):
            if self.process.poll() is not None:
                raise AssertionError(f"churn ended with {self.process.returncode}")
            time.sleep(0.02)
        assert line.split() == [str(turn)], f"workers failed: {line}"

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(120) == 0
        self._out.close()


@dataclass(slots=True)
class Outcome:
    """What was found; all is well when `wrong` is empty."""

    rounds: int
    operations: int
    sizes: list[list[Size]]
    """Of the brokers after each round."""
    wrong: list[str]


def run(machines: Machines, load: Load) -> Outcome:
    """Rounds of the same operations natively and in the sessions, until the time is over."""
    native = machines.base / "native"
    (native / "common").mkdir(parents=True)
    machines.start(load.sessions[0], "sh", "-c", "chmod 755 . && mkdir common").ended(0)
    machines.sessions.clear()
    churns = [_brokered(machines, machine, load, number) for number, machine in enumerate(load.sessions)]
    plain = _native(native, load, machines.base)
    sessions = list(machines.sessions)
    sizes, wrong = [], []
    started = time.time()
    for rounds in itertools.count(1):
        turn = load.seed + rounds
        plain.go(turn, range(load.processes))
        plain.wait(turn)
        for place, churn in enumerate(churns):
            churn.go(turn, [number for number in range(load.processes) if (number + turn) % len(churns) == place])
        for churn in churns:
            churn.wait(turn)
        sizes.append([size_of(session) for session in sessions])
        wrong += [f"round {turn}: a zombie under {session.process.pid}" for session in sessions if zombies(session)]
        wrong += logs_differ(machines.base, load.processes)
        wrong += trees_differ(native, machines, started)
        if wrong or (rounds > 1 and time.time() - started > load.seconds):
            break
        time.sleep(machines.ttl)
    for machine in sorted(set(load.sessions)):
        wrong += locks_held(machines.mirror(machine))
    for churn in (*churns, plain):
        churn.end()
    for session in sessions:
        wrong += session.said.splitlines()
    for machine in sorted(set(load.sessions)):
        wrong += leftovers(machines.mirror(machine))
    return Outcome(rounds, rounds * load.processes * load.operations, sizes, wrong)


def _brokered(machines: Machines, machine: str, load: Load, number: int) -> Churn:
    log = machines.base / "log-drive"
    argv = [sys.executable, CHURN, str(load.operations), str(log)]
    session = machines.start(machine, *argv, stdin=subprocess.PIPE)
    return Churn(session.process, session.out)


def _native(folder: Path, load: Load, base: Path) -> Churn:
    out = base / "out-native"
    argv = [sys.executable, CHURN, str(load.operations), str(base / "log-native")]
    with out.open("wb") as stdout:
        return Churn(subprocess.Popen(argv, cwd=folder, stdin=subprocess.PIPE, stdout=stdout), out)


def logs_differ(base: Path, processes: int) -> list[str]:
    """For each worker the first thing that came out differently in the last round."""
    found = []
    for number in range(processes):
        native, drive = (base / f"log-{side}.{number}" for side in ("native", "drive"))
        pairs = itertools.zip_longest(native.read_text().splitlines(), drive.read_text().splitlines())
        wrong = next(((here, there) for here, there in pairs if here != there), None)
        if wrong:
            found.append(f"worker {number}: natively {wrong[0]}, on the drive {wrong[1]}")
    return found


def trees_differ(native: Path, machines: Machines, started: float) -> list[str]:
    trees = in_folder(native), tree(machines.remote, machines.base)
    here, there = (snapshot(found, started, time.time(), opaque=(), links=True) for found in trees)
    return list(difflib.unified_diff(here, there, "native", "remote", lineterm="", n=0))


def size_of(session: Session) -> Size:
    broker = broker_of(session)
    lines = Path(f"/proc/{broker}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    files = len(os.listdir(f"/proc/{broker}/fd"))
    return Size(int(fields["VmRSS"].split()[0]) * 1024, files, int(fields["Threads"]))


def broker_of(session: Session) -> int:
    return next(children_of(session.process.pid))


def children_of(pid: int) -> Iterator[int]:
    for task in os.listdir(f"/proc/{pid}/task"):
        yield from map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())


def zombies(session: Session) -> list[int]:
    """Processes below the front that have ended and that nobody has waited for."""
    found, left = [], [session.process.pid]
    while left:
        for child in children_of(left.pop()):
            left.append(child)
            if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                found.append(child)
    return found


def locks_held(mirror: Path) -> list[str]:
    """Locks on nodes or names while nobody does anything."""
    ino = (mirror / "locks").stat().st_ino
    return [line for line in Path("/proc/locks").read_text().splitlines() if f":{ino} " in line]


def leftovers(mirror: Path) -> list[str]:
    """What the mirror keeps after the sessions have ended, and should not: dirty or stray rows, staged nodes."""
    found = [f"staged: {name}" for name in os.listdir(mirror / "staging")]
    inos = {os.lstat(mirror / "tree").st_ino}
    for folder, folders, files in os.walk(mirror / "tree"):
        inos |= {os.lstat(Path(folder, name)).st_ino for name in folders + files}
    database = sqlite3.connect(f"file:{mirror / 'ledger.sqlite'}?mode=ro", uri=True)
    try:
        rows = database.execute("SELECT ino, dirty FROM node").fetchall()
    finally:
        database.close()
    found += [f"dirty: {ino}" for ino, dirty in rows if dirty]
    # A folder that another session moves within the microseconds in which one looked-up name is put there can leave a
    # row behind. The next node of that number replaces it, so that one or two do no harm; a leak leaves more.
    stray = [ino for ino, _ in rows if ino not in inos]
    found += [f"a row of no node: {ino}" for ino in stray if len(stray) > 2 + len(rows) / 1000]
    found += [f"a node without a row: {ino}" for ino in inos - {ino for ino, _ in rows}]
    return found


def growth(sizes: Sequence[Sequence[Size]]) -> list[str]:
    """What the brokers have at the end more than after the first third: nothing to speak of."""
    found = []
    for early, late in zip(sizes[len(sizes) // 3], sizes[-1], strict=True):
        memory = late.memory > early.memory * 1.25 + (16 << 20)
        if memory or late.files > early.files + 64 or late.threads > early.threads + 8:
            found.append(f"{early} has become {late}")
    return found


def main() -> None:
    usual = Load()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--processes", type=int, default=usual.processes)
    parser.add_argument("--operations", type=int, default=usual.operations, help="of each process in each round")
    parser.add_argument("--sessions", default=usual.sessions, help="the machine of each, one letter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--encrypted", action="store_true", help="on an encrypted drive instead of a folder")
    arguments = parser.parse_args()
    load = Load(arguments.sessions, arguments.processes, arguments.operations, arguments.minutes * 60, arguments.seed)
    base = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    machines = Machines(base, f"/drive-{base.name}", arguments.encrypted)
    try:
        outcome = run(machines, load)
    finally:
        machines.clean()
    print(f"{outcome.rounds} rounds, {outcome.operations} operations")
    for turn in sorted({0, len(outcome.sizes) // 3, len(outcome.sizes) - 1}):
        print(f"round {turn + 1}: " + ", ".join(map(str, outcome.sizes[turn])))
    wrong = outcome.wrong + growth(outcome.sizes)
    for line in wrong[:50]:
        print(line)
    if wrong:
        sys.exit(f"{len(wrong)} differences; all is kept in {base}")
    shutil.rmtree(base)


if __name__ == "__main__":
    main()
