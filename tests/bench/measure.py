"""What the benchmarks share: the command under test, its scratch folder, rounds of runs, medians and the table."""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FROM_CHECKOUT = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from launcher.cli import main; sys.exit(main())"
"""The command of a checkout that is built in place and not installed."""

Sample = tuple[float, ...]
"""What one run of a variant measured; the same length every time."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One benchmark's setting: `scratch` is on the disk that is measured, and removed afterwards."""

    command: tuple[str, ...]
    scratch: Path
    runs: int
    environment: Mapping[str, str]

    def folder(self, name: str) -> Path:
        path = self.scratch / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def compile(self, name: str) -> str:
        """The path of the program made from NAME.c beside this file."""
        target = self.scratch / name
        subprocess.run(["cc", "-O2", "-Wall", "-o", str(target), str(HERE / f"{name}.c")], check=True)
        return str(target)

    def under_exec(self, *argv: str, remote: Path | None = None) -> list[str]:
        """`argv` with `remote` (an empty folder if None) at /drive."""
        folder = remote or self.folder("empty")
        return [*self.command, "exec", "-m", f"/drive=file://{folder}", "--", *argv]

    def fresh_cache(self) -> dict[str, str]:
        """An environment in which no file of any remote is known."""
        return {**self.environment, "XDG_CACHE_HOME": tempfile.mkdtemp(prefix="cache-", dir=self.scratch)}

    def output(
        self, argv: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> str:
        """What `argv` prints; CalledProcessError unless it succeeds."""
        result = subprocess.run(
            argv,
            cwd=cwd or self.scratch,
            env=environment or self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=True,
        )
        return result.stdout.decode()

    def numbers(
        self, argv: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> Sample:
        """The numbers that `argv` prints."""
        return tuple(float(word) for word in self.output(argv, cwd=cwd, environment=environment).split())

    def seconds(self, argv: Sequence[str], *, cwd: Path | None = None) -> Sample:
        """The wall time of `argv` from start to end."""
        start = time.monotonic()
        self.output(argv, cwd=cwd)
        return (time.monotonic() - start,)

    def rounds(self, variants: Mapping[str, Callable[[], Sample]]) -> dict[str, list[Sample]]:
        """Every variant once a round, every other round backwards, so that drift of the machine cancels."""
        samples: dict[str, list[Sample]] = {name: [] for name in variants}
        for number in range(self.runs):
            for name in list(variants)[:: -1 if number % 2 else 1]:
                samples[name].append(variants[name]())
        return samples


def median(samples: Sequence[Sample], column: int = 0) -> float:
    return statistics.median(sample[column] for sample in samples)


def ratio(samples: Sequence[Sample], base: Sequence[Sample], column: int = 0) -> float:
    """The median over the rounds of what a sample is of the base in the same round."""
    return statistics.median(one[column] / other[column] for one, other in zip(samples, base, strict=True))


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as they need, the first to the left and the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    print(f"\n{title}")
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())
    sys.stdout.flush()


def _command(given: str | None) -> tuple[str, ...]:
    installed = Path(sys.executable).with_name("seccomp-drive")
    if given:
        return tuple(given.split())
    return (str(installed),) if installed.exists() else (sys.executable, "-I", "-c", FROM_CHECKOUT)


@contextlib.contextmanager
def bench(description: str, runs: int) -> Iterator[Bench]:
    """Parse the command line, and give the setting in which to measure; `runs` is the default number of rounds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=runs, help="rounds to take the medians of (%(default)s)")
    parser.add_argument("--command", help="the seccomp-drive to measure, with its arguments")
    parser.add_argument("--directory", help="a folder on the disk to measure on (a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="seccomp-drive-bench-", dir=options.directory) as scratch:
        own = {
            "XDG_CACHE_HOME": f"{scratch}/cache",
            "XDG_CONFIG_HOME": f"{scratch}/config",
            "LC_ALL": "C.UTF-8",
        }
        inherited = {name: value for name, value in os.environ.items() if name != "SECCOMP_DRIVE_POLICY"}
        setting = Bench(_command(options.command), Path(scratch), options.runs, {**inherited, **own})
        if setting.output(setting.under_exec("echo", "served")) != "served\n":
            sys.exit(f"`{' '.join(setting.command)} exec` does not run a program: give another with --command")
        load, processors = os.getloadavg()[0], os.cpu_count() or 1
        if load > processors / 4:
            print(
                f"Load average {load:.1f} on {processors} processors: trust ratios only, and those little",
                file=sys.stderr,
            )
        yield setting
