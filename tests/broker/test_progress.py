"""The line on the terminal while a transfer takes long."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
from collections.abc import Callable, Iterator

import pytest

from broker import progress
from broker.progress import Progress


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Puts another file at descriptor 2 until the test ends."""
    saved = os.dup(2)
    with open(2, "w", closefd=False) as stream:

        def replace(file: int) -> None:
            os.dup2(file, 2)
            monkeypatch.setattr(sys, "stderr", stream)  # pytest has one of its own

        yield replace
    os.dup2(saved, 2)
    os.close(saved)


def _transfer(seconds: float) -> None:
    async def main() -> None:
        with Progress(b"/drive").transfer("pushing", b"big", 100) as step:
            step(40)
            await asyncio.sleep(seconds)
            step(60)

    asyncio.run(main())


def _said(terminal: int) -> bytes:
    os.set_blocking(terminal, False)
    try:
        return os.read(terminal, 1 << 16)
    except BlockingIOError:
        return b""


def test_a_short_transfer_is_not_shown(stderr: Callable[[int], None]) -> None:
    """Nothing reaches the terminal when it ends before the second is over."""
    terminal, ours = pty.openpty()
    stderr(ours)
    _transfer(0)
    assert _said(terminal) == b""
    os.close(terminal)
    os.close(ours)


def test_a_long_one_is(stderr: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says whose it is, what is done and to which file."""
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    terminal, ours = pty.openpty()
    stderr(ours)
    _transfer(0.5)
    said = _said(terminal)
    assert b"seccomp-drive: " in said
    assert b"pushing /drive/big" in said
    os.close(terminal)
    os.close(ours)


def test_without_a_terminal_nothing_is_shown(stderr: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A log gets no bar, however long it takes."""
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    log = os.memfd_create("log")
    stderr(log)
    _transfer(0.1)
    assert os.fstat(log).st_size == 0
    os.close(log)
