"""Sessions killed at random instants: what was confirmed is on the remote after `sync`, and nothing else is.

CRASHES=1000 tries so many instants instead of 100. A failure shows the seed; SEED=... begins with that one. What is
random about an instant is a time, so that the same seed hits near the same place, not on it.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from . import processes
from .killing import Place, children, tree_of
from .steps import Step, Tree, after, digests, fits, found

pytestmark = pytest.mark.usefixtures("drive_only")

PROGRAM = Path(__file__).parent / "sources/confirming.py"
COUNT = int(os.environ.get("CRASHES", "100"))
BATCHES = 4
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1 << 32)
FOLDERS = ("one", "two")
SECONDS = 30
NO_BROKER = f"[Errno {errno.ENOSYS}]"
"""What calls say when init is killed with the broker, in the moment before the program is."""
LONGEST = 0.15
"""Seconds of work before the kill: some hundred steps."""


@pytest.fixture
def place() -> Iterator[Place]:
    base = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    (base / "logs").mkdir()
    for folder in FOLDERS:
        (base / "share" / folder).mkdir(parents=True)
    try:
        yield Place(base)
    finally:
        processes.end(base)
        shutil.rmtree(base)


def crash(place: Place, victim: str, seed: int) -> str:
    """Run the program, kill `victim` at an instant, and wait until nothing is left; what was said."""
    rng = random.Random(seed)
    for log in (place.base / "logs").iterdir():
        log.unlink()
    folders = [f"{place.prefix}/{folder}" for folder in FOLDERS]
    session = place.start("python3", str(PROGRAM), str(place.base / "logs"), str(seed), *folders)
    assert session.stdout is not None
    assert session.stdout.readline() == "up\n"
    pids = tree_of(session.pid)
    time.sleep(rng.uniform(0, LONGEST))
    os.kill(pids[victim], signal.SIGKILL)
    if victim == "init":
        time.sleep(rng.uniform(0, LONGEST))
        os.kill(pids["broker"], signal.SIGKILL)
    if victim in ("front", "program"):
        for worker in processes.of(place.base):
            if worker not in pids.values() and not children(worker):
                os.kill(worker, signal.SIGKILL)
    said = session.communicate(timeout=SECONDS)[1]
    assert not processes.gone(place.base, SECONDS)
    return said


def check(place: Place, folder: str, before: Tree) -> Tree:
    """Hold what is in a folder of the remote against the log of its process; what is there now."""
    __tracebackhide__ = True
    log = place.base / "logs" / folder
    actual = found(place.share / folder)
    tree, step, confirmed = before, None, False
    for line in log.read_text().splitlines() if log.exists() else ():
        said = json.loads(line)
        if said["what"] == "tree":
            assert said["tree"] == digests(before), "the drive showed something else than the remote had"
        elif said["what"] == "begin":
            step, confirmed = Step(**said["step"]), False
        elif said["what"] == "part":
            confirmed = True
        elif said["what"] == "done":
            assert step is not None
            tree, step = after(step, tree), None
        elif not said["error"].startswith(NO_BROKER):
            raise AssertionError(f"{step} failed: {said}\n{log.read_text()[-2000:]}")
    if step is None:
        assert digests(actual) == digests(tree)
    elif not fits(step, tree, actual, confirmed=confirmed):
        trees = "\n".join(str(digests(each)) for each in (tree, after(step, tree), actual))
        pytest.fail(f"in {step}, confirmed: {confirmed}; before, after and found:\n{trees}")
    return actual


@pytest.mark.timeout(60 + 3 * COUNT)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_killed_at_random_instants(place: Place, batch: int, capfd: pytest.CaptureFixture[str]) -> None:
    """After each kill and `sync`: all that close, fsync or a returned call had confirmed, byte for byte, no half of a
    step; and the next session shows exactly that. Every other batch has a cache that evicts all the time."""
    place.policy(limit=200_000 if batch % 2 else None)
    trees: dict[str, Tree] = {folder: {} for folder in FOLDERS}
    for number in range(batch, COUNT, BATCHES):
        victim = ("broker", "broker", "broker", "front", "broker", "init", "broker", "program")[number // BATCHES % 8]
        print(f"SEED={SEED} CRASHES={COUNT}: number {number}, killed {victim}")
        crash(place, victim, SEED + number)
        assert place.sync() == 0
        for folder in FOLDERS:
            trees[folder] = check(place, folder, trees[folder])
        assert sorted(os.listdir(place.share)) == sorted(FOLDERS)


@pytest.mark.timeout(120 + COUNT)
def test_killed_on_an_encrypted_drive(place: Place) -> None:
    """The same of an embedded drive, seen by a machine that knows nothing of it; and a check of its store, and of the
    content of all files, finds nothing wrong."""
    drive = replace(place, encrypted=True)
    drive.run("exec", "--", "mkdir", *(f"{drive.prefix}/{folder}" for folder in FOLDERS))
    trees: dict[str, Tree] = {folder: {} for folder in FOLDERS}
    for number in range(COUNT // 10):
        print(f"SEED={SEED} CRASHES={COUNT}: number {number}")
        crash(drive, ("broker", "init", "broker", "program")[number % 4], SEED + number)
        drive.run("sync")
        drive.copy_out()
        for folder in FOLDERS:
            trees[folder] = check(drive, folder, trees[folder])
        assert drive.run("fsck", "--data") == "nothing is wrong\n"
