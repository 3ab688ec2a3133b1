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
from types import MappingProxyType

_BLOCK = 1 << 20
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FROM_CHECKOUT = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from launcher.cli import main; sys.exit(main())"
"""The command of a checkout that is built in place and not installed."""

Sample = tuple[float, ...]
"""What one run of a variant measured; the same length every time."""

Sizes = Mapping[str, tuple[int, str]]
"""Options that say how much is measured: of each the default and what it counts."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One benchmark's setting: `scratch` is on the disk that is measured, and removed afterwards."""

    command: tuple[str, ...]
    scratch: Path
    runs: int
    environment: Mapping[str, str]
    sizes: Mapping[str, int]

    def folder(self, name: str) -> Path:
        path = self.scratch / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def compile(self, name: str) -> str:
        """The path of the program made from NAME.c beside this file."""
        target = self.scratch / name
        subprocess.run(["cc", "-O2", "-Wall", "-o", str(target), str(HERE / f"{name}.c")], check=True)
        return str(target)

    def file(self, name: str, size: int) -> Path:
        """A file of random bytes."""
        path = self.scratch / name
        with path.open("wb") as file:
            for start in range(0, size, _BLOCK):
                file.write(os.urandom(min(_BLOCK, size - start)))
        return path

    def under_exec(self, *argv: str, remote: Path | str | None = None) -> list[str]:
        """`argv` with `remote` (a folder or a URL; an empty folder if None) at /drive."""
        url = remote if isinstance(remote, str) else f"file://{remote or self.folder('empty')}"
        return [*self.command, "exec", "-m", f"/drive={url}", "--", *argv]

    @contextlib.contextmanager
    def encrypted(self) -> Iterator[tuple[Path, str]]:
        """The folder and the URL of a new embedded drive, which is gone afterwards."""
        with self._temporary("drive-") as folder:
            url = f"drive://{folder}"
            made = self.under_exec("ls", "/drive", remote=url)
            subprocess.run(made, env=self.environment, capture_output=True, check=True)
            yield Path(folder), url

    def fresh_cache(self) -> dict[str, str]:
        """An environment in which no file of any remote is known."""
        return {**self.environment, "XDG_CACHE_HOME": tempfile.mkdtemp(prefix="cache-", dir=self.scratch)}

    @contextlib.contextmanager
    def cache(self) -> Iterator[dict[str, str]]:
        """As `fresh_cache`; what has come into the cache is gone afterwards."""
        with self._temporary("cache-") as folder:
            yield {**self.environment, "XDG_CACHE_HOME": folder}

    def _temporary(self, prefix: str) -> tempfile.TemporaryDirectory[str]:
        """A broker ends a moment after its session, and may write in it until then."""
        return tempfile.TemporaryDirectory(prefix=prefix, dir=self.scratch, ignore_cleanup_errors=True)

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

    def numbers_and_seconds(self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Sample:
        """The numbers that `argv` prints, and then its wall time."""
        start = time.monotonic()
        return (*self.numbers(argv, environment=environment), time.monotonic() - start)

    def seconds(
        self, argv: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> Sample:
        """The wall time of `argv` from start to end."""
        start = time.monotonic()
        self.output(argv, cwd=cwd, environment=environment)
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


def column(samples: Sequence[Sample], number: int) -> list[Sample]:
    """One of the things that were measured, by itself."""
    return [(sample[number],) for sample in samples]


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
def bench(description: str, runs: int, sizes: Sizes = MappingProxyType({})) -> Iterator[Bench]:
    """Parse the command line, and give the setting in which to measure; `runs` is the default number of rounds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=runs, help="rounds to take the medians of (%(default)s)")
    parser.add_argument("--command", help="the seccomp-drive to measure, with its arguments")
    # For minutes after many files were deleted, ext4 takes half a millisecond to make one (recently_deleted in
    # fs/ext4/ialloc.c), natively and in a mirror.
    parser.add_argument("--directory", help="a folder on the disk to measure on (a temporary one); /dev/shm: no disk")
    for name, (default, what) in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(
        prefix="seccomp-drive-bench-", dir=options.directory, ignore_cleanup_errors=True
    ) as scratch:
        own = {
            "XDG_CACHE_HOME": f"{scratch}/cache",
            "XDG_CONFIG_HOME": f"{scratch}/config",
            "XDG_DATA_HOME": f"{scratch}/data",
            "XDG_STATE_HOME": f"{scratch}/state",
            "LC_ALL": "C.UTF-8",
        }
        inherited = {name: value for name, value in os.environ.items() if name != "SECCOMP_DRIVE_POLICY"}
        setting = Bench(
            _command(options.command),
            Path(scratch),
            options.runs,
            {**inherited, **own},
            {name: getattr(options, name) for name in sizes},
        )
        if setting.output(setting.under_exec("echo", "served")) != "served\n":
            sys.exit(f"`{' '.join(setting.command)} exec` does not run a program: give another with --command")
        load, processors = os.getloadavg()[0], os.cpu_count() or 1
        if load > processors / 4:
            print(
                f"Load average {load:.1f} on {processors} processors: trust ratios only, and those little",
                file=sys.stderr,
            )
        yield setting
