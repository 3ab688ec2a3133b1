"""Work in order, with a bound on how much of it is under way."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.drive.blobs.pipeline import in_order


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 8))
def test_results_come_in_order_and_no_more_than_asked_for_are_held(turns: list[int], ahead: int) -> None:
    """However long each item takes, and however slowly the results are taken."""
    held = most = 0

    async def work(item: tuple[int, int]) -> int:
        nonlocal held, most
        held += 1
        most = max(most, held)
        for _ in range(item[1]):
            await asyncio.sleep(0)
        return item[0]

    async def run() -> list[int]:
        nonlocal held
        found = []
        async for result in in_order(enumerate(turns), work, ahead=ahead):
            await asyncio.sleep(0)
            held -= 1
            found.append(result)
        return found

    assert asyncio.run(run()) == list(range(len(turns)))
    assert most <= ahead


def test_the_first_failure_ends_all() -> None:
    """What is under way then is cancelled before the error is seen, and nothing more is begun."""
    begun, cancelled, last = [], [], asyncio.Event()

    async def work(item: int) -> int:
        begun.append(item)
        if item == 2:
            await last.wait()
            raise ValueError(item)
        if item == 4:
            last.set()
        try:
            await asyncio.sleep(0 if item < 2 else 3600)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    async def run() -> None:
        with pytest.raises(ValueError, match="2"):
            async for _ in in_order(range(100), work, ahead=3):
                pass

    asyncio.run(run())
    assert begun == [0, 1, 2, 3, 4] and cancelled == [3, 4]


def test_leaving_early_cancels_the_rest() -> None:
    cancelled = []

    async def work(item: int) -> int:
        try:
            await asyncio.sleep(0 if item == 0 else 3600)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    async def run() -> None:
        async with aclosing(in_order(range(100), work, ahead=4)) as results:
            async for _ in results:
                break

    asyncio.run(run())
    assert cancelled == [1, 2, 3]
