"""Runs coroutine tests of remotes, each on a loop of its own, and gives them folders on the disk."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.remotes.file import FileRemote
from broker.remotes.registry import open_file
from broker.settings import RemoteSettings

ROOT = Path(__file__).parents[3]
NOBODY = 65534


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function; leave the others to pytest."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """The folder that `file_remote` serves."""
    share = tmp_path / "share"
    share.mkdir(0o755)
    return share


@pytest.fixture
def file_remote(share: Path) -> Iterator[FileRemote]:
    remote = open_file(RemoteSettings(share.as_uri()))
    yield remote
    asyncio.run(remote.close())


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that any user can reach."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


_DROP = """
import asyncio, os, sys
import broker.remotes.registry
os.setgroups([])
os.setresgid(*[int(sys.argv[1])] * 3)
os.setresuid(*[int(sys.argv[1])] * 3)
del sys.argv[1]
exec(sys.argv.pop(1))
"""
"""The modules come first: the other user may not be able to read them."""


@pytest.fixture
def as_nobody() -> Callable[..., str]:
    """Runs lines of Python as a user without privileges; what they print."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")

    def run(script: str, *arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, "-c", _DROP, str(NOBODY), script, *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
