"""As whom a call acts: generated cases of identity, owner, mode and call, each refused and allowed as natively."""

from __future__ import annotations

import json
import operator
import os
from typing import Any

import pytest

from . import privileges
from .conftest import SOURCES
from .harness import Outcome, Pair, Place
from .privileges import GROUP, NAMESPACES, OTHER, USER, WHO

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

PATHS = int(os.environ.get("SECCOMP_DRIVE_IDENTITY_PATHS", "2"))
"""Pairs of folder and file for each identity, of 240; of calls that change nothing five times as many."""


def run(pair: Pair, kind: str, who: tuple[str, ...], seed: int) -> tuple[Outcome, Outcome]:
    """Run the calls of one kind as each of `who`, natively and on the drive."""
    cases: list[dict[str, Any]] = []

    def setup(place: Place) -> None:
        place.drive.chmod(0o755)
        cases.clear()
        for index, name in enumerate(who):
            wanted = privileges.paths(PATHS * 5 if kind == "looking" else PATHS, seed + index)
            calls = getattr(privileges, kind)
            if kind == "looking":
                privileges.make(place.drive / str(index), wanted)
                listed = [[f"{path} {key}", made] for path in wanted for key, made in calls(path).items()]
                cases.append({"who": name, "top": f"{pair.prefix}/{index}", "calls": listed})
                continue
            for path in wanted:
                for number, (key, made) in enumerate(calls(path).items()):
                    top = f"{index}-{path.replace('/', '-')}-{number}"
                    privileges.make(place.drive / top, [path])
                    cases.append({"who": name, "top": f"{pair.prefix}/{top}", "calls": [[f"{path} {key}", made]]})
        (place.work / "cases").write_text(json.dumps(cases))

    command = ["/usr/bin/python3", str(SOURCES / "identities.py"), f"{pair.base}/work/cases"]
    native, drive = pair.outcomes(command, setup=setup, seconds=300)
    assert len(native.stdout.splitlines()) == sum(len(case["calls"]) for case in cases), native.stdout[-500:]
    return native, drive


def differences(native: Outcome, drive: Outcome) -> list[str]:
    """The lines that differ, of the output and of the trees."""
    differing = [
        f"native {one}\n drive {two}"
        for one, two in zip(native.stdout.splitlines(), drive.stdout.splitlines(), strict=True)
        if one != two
    ]
    trees = set(native.trees["drive"]), set(drive.trees["drive"])
    return differing + [
        f"only {side}: {line}"
        for side, extra in (("native", trees[0] - trees[1]), ("drive", trees[1] - trees[0]))
        for line in sorted(extra)
    ]


@pytest.mark.timeout(700)
@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("kind", ["looking", "changing"])
def test_generated(pair: Pair, kind: str, who: str) -> None:
    """Every family of calls, by every kind of caller."""
    differing = differences(*run(pair, kind, (who,), WHO.index(who)))
    if differing:
        pytest.fail(f"{len(differing)} differ:\n" + "\n".join(differing[:40]))


@pytest.mark.timeout(700)
@pytest.mark.parametrize("kind", ["looking", "changing"])
def test_a_user_namespace_gives_nothing(pair: Pair, kind: str) -> None:
    """Callers in one of their own are allowed no call that the kernel refuses them."""
    native, drive = run(pair, kind, NAMESPACES, 100)
    for one, two in zip(native.stdout.splitlines(), drive.stdout.splitlines(), strict=True):
        refused = [said in ("EACCES", "EPERM") for said in one.partition(" = ")[2].split("; ")]
        allowed = [not said.startswith("E") for said in two.partition(" = ")[2].split("; ")]
        assert not any(map(operator.and_, refused, allowed)), f"native {one}\n drive {two}"


def test_owners_in_a_user_namespace(pair: Pair) -> None:
    """Files have the owners there that they have natively, those without a name there too, by path and descriptor."""

    def setup(place: Place) -> None:
        place.drive.chmod(0o777)
        for name, owner in (("mine", USER), ("others", OTHER), ("roots", 0)):
            (place.drive / name).touch(0o666)
            os.chown(place.drive / name, owner, owner)
        (place.drive / "link").symlink_to("mine")
        os.chown(place.drive / "link", USER, USER, follow_symlinks=False)

    pair.run(["/usr/bin/python3", str(SOURCES / "owners.py"), pair.prefix], setup=setup)


def test_who_takes_a_threads_place(pair: Pair) -> None:
    """By an execve of another thread: he has its number and not its groups."""

    def setup(place: Place) -> None:
        place.drive.chmod(0o755)
        for name, mode in (("of-the-group", 0o640), ("of-all", 0o644)):
            (place.drive / name).touch()
            (place.drive / name).chmod(mode)
            os.chown(place.drive / name, 0, GROUP)

    paths = [f"{pair.prefix}/{name}" for name in ("of-the-group", "of-all")]
    pair.run(["/usr/bin/python3", str(SOURCES / "successor.py"), str(USER), str(GROUP), *paths], setup=setup)


def test_names_in_a_closed_folder(pair: Pair) -> None:
    """Nobody learns which there are by opening them, also where the copy has none of them yet."""

    def setup(place: Place) -> None:
        place.drive.chmod(0o755)
        (place.drive / "open").mkdir(0o755)
        (place.drive / "open" / "closed").mkdir(0o700)
        (place.drive / "open" / "closed" / "there").touch()

    opening = f"for name in none there other; do cat {pair.prefix}/open/closed/$name; done; true"
    as_user = f"setpriv --reuid={USER} --regid={USER} --clear-groups sh -c '{opening}'"
    pair.run(["sh", "-c", f"test -e {pair.prefix}/nothing; {as_user}"], setup=setup)
