"""What is sent again, how often, and for how long."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.drive.errors import Denied, DriveError, Unreachable
from broker.drive.http.retrying import Lost, Patience, patiently


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_up_to_a_bound(attempt: int, fraction: float) -> None:
    patience = Patience(total=60, first=0.1, most=5)
    pause = patience.pause(attempt, fraction)
    assert 0.05 <= pause <= 5
    assert pause <= patience.pause(attempt + 1, 0.999) * 2


def failing(errors: list[DriveError]) -> tuple[list[float], asyncio.Future[None]]:
    """When it was called, and the outcome of a request that fails so often."""
    called: list[float] = []

    async def request() -> None:
        called.append(time.monotonic())
        if errors:
            raise errors.pop(0)

    return called, asyncio.ensure_future(patiently(request, Patience(total=5, first=0.001, most=0.002)))


def test_only_what_may_have_been_lost_is_sent_again() -> None:
    async def run() -> None:
        called, done = failing([Lost("one"), Lost("two")])
        await done
        assert len(called) == 3
        for final in (Denied("no"), Unreachable("there is nothing")):
            called, done = failing([final])
            with pytest.raises(type(final)):
                await done
            assert len(called) == 1

    asyncio.run(run())


def test_a_server_is_left_alone_for_as_long_as_it_asks() -> None:
    async def run() -> None:
        called, done = failing([Lost("later", 0.2)])
        await done
        assert called[1] - called[0] >= 0.2

    asyncio.run(run())


def test_patience_ends() -> None:
    """With the last error, and before it would have to wait beyond its end."""

    async def run() -> None:
        _, done = failing([Lost("one"), Lost("in a minute", 60.0)])
        with pytest.raises(Lost, match="in a minute"):
            await asyncio.wait_for(done, 1)

    asyncio.run(run())


def test_somebody_is_told_of_a_long_wait() -> None:
    """Once, and not of a short one."""

    async def waits_told(quiet: float) -> list[str]:
        errors, told = [Lost("one"), Lost("two"), Lost("three")], list[str]()

        async def request() -> None:
            if errors:
                raise errors.pop(0)

        patience = Patience(total=5, quiet=quiet, first=0.001, most=0.002)
        await patiently(request, patience, lambda error: told.append(str(error)))
        return told

    assert asyncio.run(waits_told(0)) == ["one"]
    assert asyncio.run(waits_told(60)) == []
