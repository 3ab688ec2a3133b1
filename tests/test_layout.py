"""Imports go one way: from the launcher to the broker, and in the broker from the session down to the values."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LEVELS = [
    {"launcher"},
    {"broker.maintenance"},
    {"broker.session"},
    {"broker.dispatch"},
    {"broker.answering"},
    {"broker.syscalls"},
    {"broker.fronting"},
    {"broker.namespace", "broker.mirror", "broker.progress"},
    {"broker.remotes"},
    {"broker.drive"},
    {"broker.spinning", "broker.linux"},
    {"broker.kernel"},
    {
        "broker.eager",
        "broker.pools",
        "broker.private",
        "broker.spinning",
        "broker.errors",
        "broker.settings",
        "broker.table",
        "broker.telling",
        "broker.tables",
        "broker.messages",
        "broker.wal",
    },
]
"""Each may import from its own level only itself, and from those below."""

EXCEPTIONS = {("broker.errors", "broker.remotes"), ("broker.errors", "broker.remotes.protocol")}
"""The errno map knows the remote errors: values, like its own level."""


def _level(module: str) -> tuple[int, str]:
    for number, names in enumerate(LEVELS):
        for name in names:
            if module == name or module.startswith(name + "."):
                return number, name
    raise AssertionError(f"{module} has no place in the layout")


def _imports(source: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name.startswith(("broker.", "launcher."))}


def _modules() -> list[Path]:
    files = [*ROOT.glob("broker/**/*.py"), *ROOT.glob("launcher/**/*.py")]
    return [file for file in files if file.name != "__init__.py"]


@pytest.mark.parametrize("source", _modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_down(source: Path) -> None:
    """A module imports from its own package and from those below, never from one above or beside."""
    module = ".".join(source.relative_to(ROOT).with_suffix("").parts)
    level, package = _level(module)
    for imported in _imports(source):
        if any(module == user and (imported == used or imported.startswith(used + ".")) for user, used in EXCEPTIONS):
            continue
        below, other = _level(imported)
        assert below > level or other == package, f"{module} imports {imported}"


def test_the_namespace_and_the_mirror_know_no_seccomp() -> None:
    """What lies right of the handlers is tested without a kernel adapter: it may not import one."""
    for package in ("namespace", "mirror"):
        for source in ROOT.glob(f"broker/{package}/*.py"):
            assert not any(name.startswith("broker.kernel") for name in _imports(source)), source
