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
from .backings import FOLDERS, Backing, tree
from .nodes import Tree, in_folder, walk
from .sides import Mount, as_user, brokered, native
from .terminal import Terminal
from .trees import snapshot, standard

Setup = Callable[["Place"], None]
Runner = Callable[["Place", dict[str, str]], tuple[int, bytes, bytes]]


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


@dataclass(frozen=True, slots=True)
class Pair:
    """One scenario's two runs. Built by the fixture `pair`; `prefix` is where the drive is in both, and `backing` is
    what stands behind it in the second.

    `confined` is a command that runs its arguments with fewer rights: seccomp-drive itself, and the native program.
    """

    base: Path
    prefix: str
    native_twice: bool
    backing: Backing = FOLDERS
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
        runner = _capturing(command, text, seconds * self.backing.patience)
        return self._compare(Scenario(runner, setup, opaque, links), status)

    def outcomes(self, argv: Sequence[str], *, setup: Setup, seconds: float) -> tuple[Outcome, Outcome]:
        """What came of `argv` natively and on the drive, for tests that compare for themselves."""
        runner = _capturing(["drive-exec", *argv], b"", seconds * self.backing.patience)
        scenario = Scenario(runner, setup, (), False)
        return self._side("native", None, scenario), self._side("drive", self._drive(), scenario)

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
                return terminal.wait(seconds * self.backing.patience), said.encode(), b""

        return self._compare(Scenario(runner, setup, opaque, False), status)

    def _compare(self, scenario: Scenario, status: int) -> Outcome:
        __tracebackhide__ = True
        first = self._side("native", None, scenario)
        assert first.status == status, f"the scenario itself is wrong: {replace(first, trees={})}"
        second = self._side("drive", self._drive(), scenario)
        if first != second:
            lines = difflib.unified_diff(first.report(), second.report(), "native", "on the drive", lineterm="", n=1)
            raise AssertionError("\n".join(["on the drive it went differently:", *lines]))
        return first

    def _drive(self) -> Backing | None:
        return None if self.native_twice else self.backing

    def _side(self, name: str, backing: Backing | None, scenario: Scenario) -> Outcome:
        """One run, natively without a `backing`."""
        place = Place(self.base, self.base / name, self.base / "work", self.prefix)
        mounts = self.mounts or (Mount(self.prefix),)
        confined = [*self.confined, *(as_user(self.user) if self.user is not None else [])]
        home = place.base / "home"
        started = time.time()
        with _folders(place, mounts, points=backing is None):
            scenario.setup(place)
            self._hand_over(place)
            urls = (backing or FOLDERS).fill(home, place.folders, [mount.name for mount in mounts])
            script = place.base / "bin/drive-exec"
            script.write_text(
                brokered(mounts, urls, confined) if backing else native(mounts, place.folders, place.work, confined)
            )
            script.chmod(0o755)
            code, stdout, stderr = scenario.runner(place, self._environment())
            left = processes.gone(place.base, 10)
            assert not left, f"{name} left processes behind: {left}; stderr: {_decoded(stderr)}"
            ended = time.time()

        def shown(nodes: Tree, owners: bool = True) -> Sequence[str]:
            return snapshot(nodes, started, ended, opaque=scenario.opaque, links=scenario.links, owners=owners)

        trees = {name: shown(tree(url, home), self.backing.owners) for name, url in urls.items()}
        trees["local"] = shown(in_folder(place.work))
        return Outcome(code, self._beside_limits(_decoded(stdout)), _decoded(stderr), trees)

    def _beside_limits(self, output: str) -> str:
        for pattern, shown in self.backing.limits:
            output = pattern.sub(shown, output)
        return output

    def _hand_over(self, place: Place) -> None:
        """To the user who runs the program, where that is another one."""
        if self.user is not None:
            for root in (place.base / "home", place.base / "cache", place.work, place.folders):
                for path in walk(root):
                    os.chown(path, self.user, self.user, follow_symlinks=False)

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
