"""What a path call about a local file costs: native, a bare notification, `exec`, strace and sandlock."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial

from measure import Bench, Sample, bench, median, ratio, table

CALLS = 100_000
SLOW_CALLS = 10_000
SPELLINGS = ("absolute", "relative", "dirfd")
ONE_CPU = ("taskset", "-c", "0")
"""Both peers are fastest when tracer and tracee share a processor, so that is measured too."""

SANDLOCK = """
import sys
from sandlock import Sandbox
result = Sandbox(fs_readable=["/"], fs_writable=["/tmp"]).run(sys.argv[1:])
sys.stdout.buffer.write(result.stdout)
sys.exit(result.exit_code)
"""


def sandlock(setting: Bench) -> list[str] | None:
    """A command that runs another in sandlock 0.9 from pip, or None (and a message) if it cannot be had."""
    python = setting.scratch / "sandlock" / "bin" / "python"
    steps = (
        [sys.executable, "-m", "venv", str(python.parents[1])],
        [str(python), "-m", "pip", "install", "--quiet", "sandlock==0.9.*"],
        [str(python), "-c", SANDLOCK, "true"],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            print(f"No row for sandlock: `{' '.join(step[:4])}` failed: {reason}", file=sys.stderr)
            return None
    return [str(python), "-c", SANDLOCK]


def peers(setting: Bench) -> dict[str, list[str]]:
    """The programs to compare with that are here, by name."""
    found = {}
    if shutil.which("strace"):
        found["strace"] = ["strace", "-f", "--seccomp-bpf", "-e", "trace=%file", "-o", "/dev/null"]
    else:
        print("No row for strace: it is not installed", file=sys.stderr)
    if wrapper := sandlock(setting):
        found["sandlock"] = wrapper
    return found


def variants(setting: Bench) -> dict[str, Callable[[], Sample]]:
    """Each measures µs per call by absolute path, relative path and dirfd."""
    calls, bare = setting.compile("calls"), setting.compile("bare")
    folder = setting.folder("local")
    (folder / "file").write_text("a local file\n")

    def loop(count: int, *first: str) -> list[str]:
        return [calls, "stat", str(count), str(folder), "file", *first]

    commands = {
        "native": loop(CALLS),
        "bare loop": [bare, *loop(CALLS)],
        "exec, before the drive": setting.under_exec(*loop(CALLS)),
        "exec, after the drive": setting.under_exec(*loop(CALLS, "/drive")),
    }
    for name, wrapper in peers(setting).items():
        commands[name] = [*wrapper, *loop(SLOW_CALLS)]
        commands[f"{name}, one processor"] = [*ONE_CPU, *wrapper, *loop(SLOW_CALLS)]
    return {name: partial(setting.numbers, argv) for name, argv in commands.items()}


def main() -> None:
    with bench(__doc__, runs=9) as setting:
        samples = setting.rounds(variants(setting))
    goals = {"exec, before the drive": "at most 1.5", "exec, after the drive": "at most 2"}
    rows = []
    for name, measured in samples.items():
        row = [name]
        for column in range(len(SPELLINGS)):
            times = f"{ratio(measured, samples['bare loop'], column):.2f}"
            row += [f"{median(measured, column):.2f}", times]
        rows.append([*row, goals.get(name, "")])
    header = ["stat of a local file"]
    for spelling in SPELLINGS:
        header += [f"{spelling} µs", "x bare"]
    table("A trapped call about a local file", [*header, "goal x bare"], rows)
    print("The goal besides: exec takes at most half of strace's and of sandlock's time.")


if __name__ == "__main__":
    main()
