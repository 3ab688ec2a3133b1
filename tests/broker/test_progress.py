"""The line on the terminal while a transfer takes long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import sys
from collections.abc import Callable, Iterator

import pytest

from broker import progress
from broker.progress import Display, Progress


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
    said = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            said += os.read(terminal, 1 << 16)
    return said


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


def test_several_share_the_terminal(stderr: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many transfers there are, a few are shown, each once, and a message stands above them."""
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    terminal, ours = pty.openpty()
    stderr(ours)

    async def main() -> None:
        display = Display()

        async def transfer(number: int) -> None:
            with Progress(b"/drive", display).transfer("pushing", b"file%d" % number, 100) as step:
                step(40)
                await asyncio.sleep(0.5)

        async def say() -> None:
            await asyncio.sleep(0.3)
            display.tell("something \x1b[2J happened")

        await asyncio.gather(say(), *map(transfer, range(20)))

    asyncio.run(main())
    said = _said(terminal)
    assert b"/drive/file0" in said and b"/drive/file19" not in said
    assert b"seccomp-drive: something \\x1b[2J happened" in said
    os.close(terminal)
    os.close(ours)


def test_how_far_it_is(stderr: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The amount is asked for whenever the line is drawn."""
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    terminal, ours = pty.openpty()
    stderr(ours)
    left = [3]

    async def main() -> None:
        with Display().line("pushing", None, lambda: f"{left[0]} files left"):
            await asyncio.sleep(0.4)
            left[0] = 2
            await asyncio.sleep(0.4)

    asyncio.run(main())
    said = _said(terminal)
    assert b"3 files left" in said and b"2 files left" in said
    os.close(terminal)
    os.close(ours)
