"""Change folders at random for ever: `confirming.py LOGS SEED FOLDER...`, a process for each folder.

LOGS/NAME has a line for each thing that has happened, written by one write(2): ``tree`` with the digests of what was
found at first, then for each step ``begin`` and what it is, ``part`` and ``done``. ``error`` is the last.
"""

from __future__ import annotations

import json
import os
import random
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steps import after, digests, draw, found, perform


def change(root: Path, log: int, seed: str) -> None:
    def say(what: str, **details: object) -> None:
        os.write(log, json.dumps({"what": what, **details}).encode() + b"\n")

    rng = random.Random(seed)
    tree = found(root)
    say("tree", tree=digests(tree))
    while True:
        step = draw(rng, tree)
        say("begin", step=asdict(step))
        try:
            perform(step, root, lambda: say("part"))
        except OSError as error:
            say("error", error=str(error))
            raise
        say("done")
        tree = after(step, tree)


def main() -> None:
    logs, seed, *folders = sys.argv[1:]
    for folder in folders:
        if os.fork() == 0:
            root = Path(folder)
            log = os.open(Path(logs, root.name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            change(root, log, seed + root.name)
    os.write(1, b"up\n")
    while True:
        os.wait()


main()
