"""Runs one scenario natively and on a drive, and compares output, exit status and the resulting trees."""

from __future__ import annotations

import difflib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import processes
from .sides import Mount, as_user, brokered, native
from .terminal import Terminal
from .trees import snapshot, standard

Setup = Callable[["Place"], None]
Runner = Callable[["Place", dict[str, str]], tuple[int, bytes, bytes]]
Wrapper = Callable[[Sequence[Mount], Path, Path, Sequence[str]], str]


@dataclass(frozen=True, slots=True)
class Place:
    """The folders of one run: `folders` holds what appears at the prefixes, `work` is on the local disk."""

    base: Path
    folders: Path
    work: Path
    prefix: str

    @property
    def drive(self) -> Path:
        return self.folders / "drive"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run. `trees` has a snapshot of each mount's folder and of the working directory."""

    status: int
    stdout: str
    stderr: str
    trees: Mapping[str, Sequence[str]]

    def report(self) -> list[str]:
        lines = [f"exit status {self.status}", *(f"stdout: {line}" for line in self.stdout.splitlines())]
        lines += [f"stderr: {line}" for line in self.stderr.splitlines()]
        return lines + [f"{name}/{line}" for name, tree in sorted(self.trees.items()) for line in tree]


def fill_standard(place: Place) -> None:
    """The setup that scenarios have unless they say otherwise."""
    standard(place.drive, place.prefix)


def bash(script: str) -> list[str]:
    """The command that runs `script` and stops at the first thing that fails."""
    return ["bash", "-e", "-c", script]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What both runs of a pair have in common."""

    runner: Runner
    setup: Setup
    opaque: Sequence[str]
    links: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Pair:
    """One scenario's two runs. Built by the fixture `pair`; `prefix` is where the drive is in both.

    `confined` is a command that runs its arguments with fewer rights: seccomp-drive itself, and the native program.
    """

    base: Path
    prefix: str
    native_twice: bool
    mounts: tuple[Mount, ...] = ()
    user: int | None = None
    confined: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        argv: Sequence[str],
        *,
        setup: Setup = fill_standard,
        status: int = 0,
        outside: bool = False,
        text: bytes = b"",
        opaque: Sequence[str] = (),
        links: bool = False,
        seconds: float = 60,
    ) -> Outcome:
        """Run `argv` both ways and compare; the native run must have exited with `status`, and is returned.

        `$DRIVE` is the prefix; the working directory is `$LOCAL`, on the local disk. With `outside` the program is
        not under the drive itself, but may call `drive-exec COMMAND...`, as in a pipeline of two. `text` is
        standard input. `opaque` and `links` are those of `snapshot`.
        """
        __tracebackhide__ = True
        command = list(argv) if outside else ["drive-exec", *argv]
        return self._compare(Scenario(_capturing(command, text, seconds), setup, opaque, links, seconds), status)

    def outcomes(self, argv: Sequence[str], *, setup: Setup, seconds: float) -> tuple[Outcome, Outcome]:
        """What came of `argv` natively and on the drive, for tests that compare for themselves."""
        scenario = Scenario(_capturing(["drive-exec", *argv], b"", seconds), setup, (), False, seconds)
        return self._side("native", native, scenario), self._side("drive", self._other, scenario)

    def dialogue(
        self,
        argv: Sequence[str],
        talk: Callable[[Terminal], str | None],
        *,
        setup: Setup = fill_standard,
        status: int = 0,
        outside: bool = False,
        opaque: Sequence[str] = (),
        seconds: float = 60,
    ) -> Outcome:
        """As `run`, on a terminal: `talk` holds the conversation and returns what of it is to be compared."""
        command = list(argv) if outside else ["drive-exec", *argv]

        def runner(place: Place, environment: dict[str, str]) -> tuple[int, bytes, bytes]:
            executable = shutil.which(command[0], path=environment["PATH"]) or command[0]
            with Terminal([executable, *command[1:]], environment, place.work) as terminal:
                said = talk(terminal) or ""
                return terminal.wait(seconds), said.encode(), b""

        return self._compare(Scenario(runner, setup, opaque, False, seconds), status)

    def _compare(self, scenario: Scenario, status: int) -> Outcome:
        __tracebackhide__ = True
        first = self._side("native", native, scenario)
        assert first.status == status, f"the scenario itself is wrong: {replace(first, trees={})}"
        second = self._side("drive", self._other, scenario)
        if first != second:
            lines = difflib.unified_diff(first.report(), second.report(), "native", "on the drive", lineterm="", n=1)
            raise AssertionError("\n".join(["on the drive it went differently:", *lines]))
        return first

    @property
    def _other(self) -> Wrapper:
        return native if self.native_twice else brokered

    def _side(self, name: str, wrapper: Wrapper, scenario: Scenario) -> Outcome:
        place = Place(self.base, self.base / name, self.base / "work", self.prefix)
        mounts = self.mounts or (Mount(self.prefix),)
        confined = [*self.confined, *(as_user(self.user) if self.user is not None else [])]
        with _folders(place, mounts, points=wrapper is native):
            scenario.setup(place)
            script = place.base / "bin/drive-exec"
            script.write_text(wrapper(mounts, place.folders, place.work, confined))
            script.chmod(0o755)
            if self.user is not None:
                _hand_to(self.user, place.base / "home", place.base / "cache", place.work, place.folders)
            started = time.time()
            code, stdout, stderr = scenario.runner(place, self._environment())
            left = processes.gone(place.base, 10)
            assert not left, f"{name} left processes behind: {left}; stderr: {_decoded(stderr)}"
            ended = time.time()
        folders = {mount.name: place.folders / mount.name for mount in mounts} | {"local": place.work}
        trees = {
            folder: snapshot(path, started, ended, opaque=scenario.opaque, links=scenario.links)
            for folder, path in folders.items()
        }
        return Outcome(code, _decoded(stdout), _decoded(stderr), trees)

    def _environment(self) -> dict[str, str]:
        return {
            processes.MARK: str(self.base),
            "PATH": f"{self.base}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "DRIVE": self.prefix,
            "LOCAL": str(self.base / "work"),
            "HOME": str(self.base / "home"),
            "XDG_CACHE_HOME": str(self.base / "cache"),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "TERM": "xterm",
            **self.environment,
        }


@contextmanager
def _folders(place: Place, mounts: Sequence[Mount], *, points: bool) -> Iterator[None]:
    """Fresh folders for one run; with `points` also what the native mounts are mounted on."""
    for folder in (place.work, place.folders, place.base / "home", place.base / "cache"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (place.work, place.base / "home", place.base / "cache", place.base / "bin"):
        folder.mkdir(exist_ok=True)
    for mount in mounts:
        (place.folders / mount.name).mkdir(parents=True)
    made = [mount.point(place.work) for mount in mounts] if points else []
    for point in made:
        point.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        processes.end(place.base)
        for point in made:
            with suppress(OSError):
                point.rmdir()


def _hand_to(user: int, *roots: Path) -> None:
    for root in roots:
        for folder, folders, files in os.walk(root):
            for name in [".", *folders, *files]:
                os.chown(Path(folder, name), user, user, follow_symlinks=False)


def _capturing(command: Sequence[str], text: bytes, seconds: float) -> Runner:
    def runner(place: Place, environment: dict[str, str]) -> tuple[int, bytes, bytes]:
        return _captured(place, command, environment, text, seconds)

    return runner


def _captured(
    place: Place, argv: Sequence[str], environment: dict[str, str], text: bytes, seconds: float
) -> tuple[int, bytes, bytes]:
    """Run to the end; output goes through files, since a background process may keep a pipe open."""
    out, err = place.base / "stdout", place.base / "stderr"
    (place.base / "stdin").write_bytes(text)
    with (place.base / "stdin").open("rb") as stdin, out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            argv,
            cwd=place.work,
            env=environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            umask=0o022,
            executable=shutil.which(argv[0], path=environment["PATH"]),
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            stuck = processes.of(place.base)
            os.killpg(process.pid, signal.SIGKILL)
            processes.end(place.base)
            process.wait()
            shown = f"{_decoded(out.read_bytes())[-1000:]}\nstderr: {_decoded(err.read_bytes())[-2000:]}"
            raise AssertionError(f"no end within {seconds} s; running: {stuck}; stdout: {shown}") from None
    return (code if code >= 0 else 128 - code), out.read_bytes(), err.read_bytes()


def _decoded(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
