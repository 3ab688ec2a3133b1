"""Fixtures of the real-program tests, and `--native-twice`, which checks the tests themselves without a drive."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import processes
from .backings import FOLDERS, Backing, Embedded, OnServer
from .chosen import BACKINGS, EMBEDDED, FILE, SERVED, runs
from .harness import Pair
from .machines import Machines
from .team import team

SOURCES = Path(__file__).parent / "sources"
Build = Callable[..., Path]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--native-twice",
        action="store_true",
        help="run every scenario natively twice, to show that the scenarios themselves repeat",
    )


@pytest.fixture
def native_twice(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--native-twice", default=False))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every scenario runs with a folder behind the drive, the chosen ones also with encrypted drives."""
    if "backing" in metafunc.fixturenames:
        once = metafunc.config.getoption("--native-twice", default=False)
        metafunc.parametrize("backing", [FILE] if once else BACKINGS, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out those that are not chosen, and gives those on drives time."""
    config.hook.pytest_deselected(items=[item for item in items if not _is_chosen(item)])
    items[:] = filter(_is_chosen, items)
    for item in items:
        if _backing_of(item) != FILE:
            item.add_marker(pytest.mark.timeout(600))


def _backing_of(item: pytest.Item) -> str:
    has_one = isinstance(item, pytest.Function) and "backing" in item.fixturenames
    return str(item.callspec.params["backing"]) if has_one else FILE


def _is_chosen(item: pytest.Item) -> bool:
    backing = _backing_of(item)
    return backing == FILE or runs(item.module.__name__, item.originalname, item.callspec.id, backing)


@pytest.fixture
def backing(request: pytest.FixtureRequest) -> Backing:
    """What is behind the prefixes of a scenario."""
    if request.param == SERVED:
        served: Backing = request.getfixturevalue("served")
        return served
    return Embedded() if request.param == EMBEDDED else FOLDERS


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnServer]:
    """A server on PostgreSQL and SeaweedFS, whose store must be sound in the end."""
    folder = tmp_path_factory.mktemp("served")
    with team(folder) as made:
        yield OnServer(made.url)
        assert made.fsck() == "nothing is wrong\n"


@pytest.fixture
def pair(native_twice: bool, backing: Backing) -> Iterator[Pair]:
    """A scenario in folders of its own with short names, since socket paths must fit into 108 bytes."""
    base = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    base.chmod(0o755)
    unique = base.name.removeprefix("sd-")
    above = "/" if os.geteuid() == 0 else "/tmp/"
    try:
        yield Pair(base, f"{above}drive-{unique}", native_twice, backing)
    finally:
        processes.end(base)
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def encrypted() -> bool:
    """Whether `machines` have an encrypted drive; for tests to parametrize."""
    return False


@pytest.fixture
def machines(encrypted: bool) -> Iterator[Machines]:
    """Machines with an empty remote in common: a share, or an encrypted drive."""
    base = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    machines = Machines(base, f"/drive-{base.name}", encrypted)
    try:
        yield machines
    finally:
        machines.clean()
        shutil.rmtree(base)


@pytest.fixture
def drive_only(native_twice: bool) -> None:
    """For tests of the command itself, which have no native counterpart."""
    if native_twice:
        pytest.skip("there is no native counterpart")


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compile a file of sources/ with gcc and these flags, or with go; the path of the program, built once."""
    folder = tmp_path_factory.mktemp("built")
    built: dict[tuple[str, ...], Path] = {}

    def compile_(name: str, *flags: str) -> Path:
        key = (name, *flags)
        if key not in built:
            program = folder / f"{Path(name).stem}-{len(built)}"
            if name.endswith(".go"):
                cache = folder.parent.parent / "go-cache"
                environment = {**os.environ, "CGO_ENABLED": "0", "GOCACHE": str(cache), "GOFLAGS": "-mod=mod"}
                command = ["go", "build", "-o", str(program), str(SOURCES / name)]
                subprocess.run(command, check=True, env=environment, cwd=folder)
            else:
                command = ["gcc", "-O1", "-Wall", "-o", str(program), str(SOURCES / name), *flags]
                subprocess.run(command, check=True)
            built[key] = program
        return built[key]

    return compile_
