"""Random lists of raw system calls answer on a drive as they do in a plain folder, errno by errno."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from .conftest import SOURCES
from .harness import Pair, Place
from .operations import Call, generate

CASES = 60


def lines_by_case(output: str) -> dict[str, list[str]]:
    """What `calls.py` printed, for each case by its index."""
    found: dict[str, list[str]] = {}
    for line in output.splitlines():
        index, _, rest = line.partition(".")
        found.setdefault(index, []).append(rest)
    return found


def differing(pair: Pair, cases: Sequence[Sequence[Call]]) -> dict[int, tuple[list[str], list[str]]]:
    """Run all cases in one process on each side; index → both outputs of those that differ."""

    def setup(place: Place) -> None:
        (place.work / "cases").write_text(json.dumps(cases))

    command = ["/usr/bin/python3", str(SOURCES / "calls.py"), pair.prefix, f"{pair.base}/work/cases"]
    native, drive = (lines_by_case(outcome.stdout) for outcome in pair.outcomes(command, setup=setup, seconds=100))
    assert len(native) == len(cases)
    return {
        index: (native[str(index)], drive.get(str(index), ["nothing"]))
        for index in range(len(cases))
        if native[str(index)] != drive.get(str(index))
    }


def smallest(pair: Pair, case: list[Call]) -> tuple[list[str], list[str]]:
    """Leave out calls as long as the rest still differs; what both sides print of what remains."""
    found = differing(pair, [case]).get(0, (["it does not happen again alone"], []))
    for _ in range(8):
        shorter = [case[:at] + case[at + 1 :] for at in range(len(case))]
        failing = differing(pair, shorter) if shorter[1:] else {}
        if not failing:
            break
        index = next(iter(failing))
        case, found = shorter[index], failing[index]
    return found


def explain(native: Sequence[str], drive: Sequence[str]) -> str:
    """The calls in their order, each difference marked."""
    shown = [line for line in native if not line.startswith("end")]
    for one, two in zip(native, drive, strict=False):
        if one != two:
            shown += [f"    native {one}", f"    drive  {two}"]
    shown += [f"    only native {line}" for line in native[len(drive) :]]
    return "\n".join(shown + [f"    only drive {line}" for line in drive[len(native) :]])


@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", range(4))
def test_random_calls(pair: Pair, number: int) -> None:
    """Open flags, renames, links, attributes, odd paths: each result and errno, and the tree that remains.

    The prefix has a folder of its own above it: `chmod("../..")` reaches that, and must not reach the machine's.
    """
    above = pair.base / "above"
    above.mkdir()
    pair = replace(pair, prefix=f"{above}/drive")
    cases = generate(number, CASES)
    failing = differing(pair, cases)
    reports = [explain(*smallest(pair, cases[index])) for index in list(failing)[:3]]
    assert not failing, f"{len(failing)} of {len(cases)} cases differ; the first, made small:\n" + "\n\n".join(
        reports
    )
