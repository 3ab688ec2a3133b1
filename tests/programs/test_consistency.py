"""Close-to-open consistency between sessions on one machine and on two, under load."""

from __future__ import annotations

import json
import os

import pytest

from .conftest import SOURCES
from .consistency import Event, violations
from .machines import Machines, Session
from .sources.registers import registers_of

pytestmark = pytest.mark.usefixtures("drive_only")

SECONDS = float(os.environ.get("SECCOMP_DRIVE_LOAD_SECONDS", "4"))
"""How long the writers and readers go on; set it to 60 or more for a thorough run."""
SESSIONS = ("a1", "a2", "b1", "b2")
"""Two on each machine, which is the first letter; each session has two workers."""
WORKERS = [f"{session}-{count}" for session in SESSIONS for count in "12"]
REGISTERS = [register for worker in WORKERS for register in registers_of(worker)]


@pytest.mark.parametrize("encrypted", [False, True], ids=["share", "encrypted"])
def test_close_to_open(machines: Machines) -> None:
    """Who opens after a close that has returned sees that content or a later one, whole, wherever he is."""
    alone(machines, "for name in REGISTERS: open(name, 'wb').write(content(name, 0, 100))")
    started = [machines.start(session[0], *working(session)) for session in SESSIONS]
    events = [event for session in started for event in events_of(session)]
    assert violations(events) == []
    written = [(event.register, event.number) for event in events if event.what == "write"]
    found = alone(
        machines, "print(json.dumps({name: number_of(name, open(name, 'rb').read()) for name in REGISTERS}))"
    )
    assert json.loads(found) == {
        register: max((number for name, number in written if name == register), default=0) for register in REGISTERS
    }
    assert "conflict" not in alone(machines, "print(os.listdir('.'))")


def read(number: int, began: float, ended: float, machine: str = "a") -> Event:
    return Event(machine, "reader", "f", "read", number, began, ended)


@pytest.mark.parametrize(
    "wrong",
    [
        [read(-1, 0, 1)],
        [read(0, 2.5, 3)],
        [read(3, 4, 5)],
        [read(2, 3.1, 3.2), read(1, 3.3, 3.4)],
    ],
)
def test_the_checker_finds(wrong: list[Event]) -> None:
    """What nobody wrote, what was there before a write that had ended, what is yet to be written, and a step back."""
    times = {1: (1, 2), 2: (3, 4), 3: (6, 7)}
    writes = [Event("b", "writer", "f", "write", number, began, ended) for number, (began, ended) in times.items()]
    right = [read(1, 1.5, 1.6), read(0, 1.7, 1.8, "c"), read(1, 2.5, 3), read(2, 3.5, 5), read(3, 6.5, 7)]
    assert violations(writes + right) == []
    assert violations(writes + right + wrong)


def alone(machines: Machines, script: str) -> str:
    """What a Python program says that runs on a machine of its own when nobody else does."""
    known = f"import json, sys\nsys.path.append({str(SOURCES)!r})\nfrom registers import content, number_of"
    return machines.python("c", f"{known}\nREGISTERS = {REGISTERS}\n{script}").ended(0)


def working(session: str) -> list[str]:
    """The command of a session: two workers at once."""
    worker = f"python3 {SOURCES}/registers.py {session}-$w {','.join(WORKERS)} {SECONDS}"
    return ["sh", "-c", f"for w in 1 2; do {worker} & done; wait"]


def events_of(session: Session) -> list[Event]:
    out = session.ended(0, SECONDS + 60)
    assert not session.said
    return [Event(machine=session.machine, **json.loads(line)) for line in out.splitlines()]
