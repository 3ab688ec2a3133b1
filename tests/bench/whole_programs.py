"""What whole programs on the local disk lose under `exec`, in µs for each call that is trapped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from measure import ROOT, Bench, Sample, bench, median, table

TRACKED = 3_000
SOURCES = 20
REPEATS = 3
STATS = 50_000


@dataclass(frozen=True, slots=True)
class Program:
    name: str
    argv: tuple[str, ...]
    folder: Path


def repository(folder: Path) -> Path:
    """A git work tree of 3,000 files, older than its index: git reads no content for `status`."""
    an_hour_ago = time.time() - 3600
    for number in range(TRACKED):
        path = folder / f"folder-{number % 30:02}" / f"file-{number:04}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{number}\n")
        os.utime(path, (an_hour_ago, an_hour_ago))
    author = ("-c", "user.name=bench", "-c", "user.email=bench@example.org")
    for step in (("init",), ("add", "."), (*author, "commit", "-m", "all")):
        subprocess.run(["git", "-c", "init.defaultBranch=main", *step], cwd=folder, check=True, capture_output=True)
    return folder


def c_project(folder: Path) -> Path:
    names = [f"part{number:02}" for number in range(SOURCES)]
    for name in names:
        source = f'#include <stdio.h>\n#include <stdlib.h>\nint {name}(void) {{ return printf("{name}\\n"); }}\n'
        (folder / f"{name}.c").write_text(source)
    declared = "".join(f"int {name}(void);\n" for name in names)
    called = "".join(f"    {name}();\n" for name in names)
    (folder / "main.c").write_text(f"{declared}int main(void)\n{{\n{called}    return 0;\n}}\n")
    objects = " ".join(f"{name}.o" for name in [*names, "main"])
    (folder / "Makefile").write_text(f"program: {objects}\n\t$(CC) -o $@ $^\n")
    return folder


def programs(setting: Bench) -> list[Program]:
    python = str(Path(sys.executable).resolve())
    imports = "import asyncio, http.client, sqlite3, ssl"
    return [
        Program("python imports", (python, "-c", imports), setting.folder("python")),
        Program("git status", ("git", "status"), repository(setting.folder("git"))),
        Program("make -j2", ("make", "--always-make", "-j2"), c_project(setting.folder("make"))),
    ]


def trapped_calls(setting: Bench, program: Program) -> int:
    """How many calls the filter traps, counted by strace; calls on descriptors in our range do not occur here."""
    sys.path.append(str(ROOT))
    from broker.table import TABLE, Trap

    traps = (Trap.PATH, Trap.DESCRIPTOR, Trap.WORKING_DIRECTORY, Trap.EXEC)
    names = ",".join(f"?{row.name}" for row in TABLE if row.x86_64 is not None and row.trap in traps)
    counts = setting.scratch / "counts"
    strace = ["strace", "-f", "-c", "-U", "calls,name", "-e", f"trace={names}", "-o", str(counts)]
    setting.output([*strace, *program.argv], cwd=program.folder)
    *_, total = (line.split() for line in counts.read_text().splitlines() if line.endswith("total"))
    return int(total[0])


def variants(setting: Bench, each: str, program: Program) -> dict[str, Callable[[], Sample]]:
    repeated = (each, str(REPEATS), *program.argv)
    folder = program.folder
    return {
        "native": lambda: setting.seconds(program.argv, cwd=folder),
        "exec": lambda: setting.seconds(setting.under_exec(*program.argv), cwd=folder),
        "true": lambda: setting.seconds(["true"]),
        "exec true": lambda: setting.seconds(setting.under_exec("true")),
        "native inside": lambda: setting.numbers(repeated, cwd=folder),
        "exec inside": lambda: setting.numbers(setting.under_exec(*repeated), cwd=folder),
    }


def round_trip(setting: Bench) -> float:
    """µs that a bare notification adds to a call on this machine."""
    loop = [setting.compile("calls"), "stat", str(STATS), str(setting.folder("local")), "."]
    bare = [setting.compile("bare"), *loop]
    samples = setting.rounds({"native": lambda: setting.numbers(loop), "bare": lambda: setting.numbers(bare)})
    return median(samples["bare"]) - median(samples["native"])


def row(name: str, calls: int, samples: dict[str, list[Sample]], bare: float) -> list[str]:
    whole = {variant: median(measured) * 1e3 for variant, measured in samples.items()}
    inside = {variant: median([(one,) for run in samples[variant] for one in run]) * 1e3 for variant in samples}
    added = whole["exec"] - whole["native"]
    start = whole["exec true"] - whole["true"]
    steady = inside["exec inside"] - inside["native inside"]
    per_call = [f"{part * 1e3 / calls:.2f}" for part in (added, added - start, steady)]
    times_bare = f"{steady * 1e3 / calls / bare:.1f}"
    share = f"{steady / inside['native inside']:.1%}"
    times = [f"{value:.1f}" for value in (whole["native"], whole["exec"], start)]
    return [name, str(calls), *times, *per_call, times_bare, share, "at most 4.5"]


def main() -> None:
    with bench(__doc__, runs=7) as setting:
        each = setting.compile("each")
        bare = round_trip(setting)
        rows = []
        for program in programs(setting):
            calls = trapped_calls(setting, program)
            rows.append(row(program.name, calls, setting.rounds(variants(setting, each, program)), bare))
    header = ["program", "trapped", "native ms", "exec ms", "start ms", "µs with", "µs without", "µs inside"]
    table("Whole programs on the local disk", [*header, "x bare", "share", "goal without"], rows)
    print(f"""\
µs added for each trapped call: with the start of the session; without it (`exec true` over `true` taken off); inside
a session, with native and exec both timed around the program alone. The last also as a multiple of what a bare
notification adds to a call here ({bare:.2f} µs), and as a share of the native time.""")


if __name__ == "__main__":
    main()
