"""Opens of FIFOs: who goes away leaves the others waiting."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.kernel import native
from broker.syscalls.waiting import open_slowly

OPENAT = 257
AT_FDCWD = -100


@pytest.fixture
def fifo(tmp_path: Path) -> bytes:
    path = os.fsencode(tmp_path / "fifo")
    os.mkfifo(path)
    return path


def opening(fifo: bytes) -> asyncio.Task[int]:
    arguments = (AT_FDCWD, fifo, os.O_RDONLY | os.O_CLOEXEC, 0, 0, 0)
    return asyncio.ensure_future(open_slowly(lambda: native.call(native.AUDIT_ARCH_X86_64, OPENAT, arguments)))


def has_no_reader(fifo: bytes) -> bool:
    """Whether nobody reads or waits to read: a writer is refused (ENXIO)."""
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return True
    return False


@pytest.fixture(autouse=True)
def _blocked() -> Iterator[None]:
    """As in the broker."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGINT, signal.SIGALRM})
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_one_who_goes_away_leaves_the_others_waiting(fifo: bytes) -> None:
    """The cancelled one is gone when it says so, and the other still gets what the next writer writes."""

    async def both() -> None:
        stays, goes = opening(fifo), opening(fifo)
        await asyncio.sleep(0.1)
        goes.cancel()
        with pytest.raises(asyncio.CancelledError):
            await goes
        await asyncio.sleep(0.1)
        assert not stays.done()
        writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        os.close(await stays)
        os.close(writer)

    asyncio.run(both())


def test_one_who_was_served_before_he_could_go(fifo: bytes) -> None:
    """A writer has met him: he has the descriptor, as he would natively."""

    async def one() -> None:
        goes = opening(fifo)
        await asyncio.sleep(0.1)
        writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        goes.cancel()
        os.close(await goes)
        os.close(writer)

    asyncio.run(one())


def test_nobody_is_left_behind(fifo: bytes) -> None:
    """However soon after its begin an open is given up, its thread does not go on to wait for a partner."""

    async def many() -> None:
        for number in range(20):
            goes = opening(fifo)
            await asyncio.sleep(number * 0.0002)
            goes.cancel()
            with pytest.raises(asyncio.CancelledError):
                await goes

    asyncio.run(many())
    assert has_no_reader(fifo)
