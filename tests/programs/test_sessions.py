"""Several sessions that change the same files, on one machine and on two: nothing that was confirmed is lost."""

from __future__ import annotations

import re

import pytest

from .conftest import SOURCES
from .machines import Machines, Session

pytestmark = pytest.mark.usefixtures("drive_only")

TOKENS = 60
CONFLICT = re.compile(r"seccomp-drive: \S+ was changed on the remote meanwhile; .* beside it as (\S+)\n")


def putting_tokens(machines: Machines, how: str, sessions: str) -> list[Session]:
    (machines.share / "tokens").touch()
    script = f"{SOURCES}/tokens.py"
    return [
        machines.start(machine, "python3", script, how, "tokens", f"{machine}{number}", str(TOKENS))
        for number, machine in enumerate(sessions)
    ]


@pytest.mark.parametrize("how", ["append", "posix", "flock", "ofd"])
def test_one_machine(machines: Machines, how: str) -> None:
    """Three sessions append to one file, or write it anew under a lock of each kind: every token is there once."""
    confirmed = [token for session in putting_tokens(machines, how, "aaa") for token in session.ended(0).splitlines()]
    assert sorted((machines.share / "tokens").read_text().splitlines()) == sorted(confirmed)
    assert [path.name for path in machines.share.iterdir()] == ["tokens"]


@pytest.mark.parametrize("how", ["append", "rewrite"])
def test_two_machines(machines: Machines, how: str) -> None:
    """What two machines write at the same time is in the file or in a conflict copy that somebody was told of."""
    started = putting_tokens(machines, how, "ab")
    confirmed = {token for session in started for token in session.ended(0).splitlines()}
    found = {token for path in machines.share.iterdir() for token in path.read_text().splitlines()}
    assert found == confirmed
    told = {kept for session in started for kept in CONFLICT.findall(session.said)}
    assert told == {path.name for path in machines.share.iterdir()} - {"tokens"}
