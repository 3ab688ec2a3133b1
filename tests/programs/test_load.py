"""Many processes in three sessions on two machines do what they would do in a plain folder, and leave nothing."""

from __future__ import annotations

import os

import pytest

from .load import Load, growth, run
from .machines import Machines

pytestmark = pytest.mark.usefixtures("drive_only")

SECONDS = float(os.environ.get("SECCOMP_DRIVE_LOAD_SECONDS", "8"))
"""The program ``python -m tests.programs.load`` takes more parameters."""


@pytest.mark.parametrize("encrypted", [False, True], ids=["share", "encrypted drive"])
@pytest.mark.timeout(SECONDS + 120)
def test_load(machines: Machines) -> None:
    """The same outcome of every call, equal trees after every round, and brokers that do not grow."""
    outcome = run(machines, Load(processes=20, operations=50, seconds=SECONDS))
    assert outcome.wrong == []
    assert growth(outcome.sizes) == []
