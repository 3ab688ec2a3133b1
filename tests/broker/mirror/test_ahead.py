"""Asking for the next item while one is worked on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker.mirror.ahead import ahead


class Source:
    """Gives numbers, and knows how many were asked for; fails instead of number `fails`, waits before `waits`."""

    def __init__(self, fails: int = -1, waits: int = -1) -> None:
        self.asked = 0
        self.ended = False
        self._fails = fails
        self._waits = waits

    async def numbers(self) -> AsyncIterator[int]:
        try:
            for number in range(5):
                self.asked += 1
                await asyncio.sleep(0)
                if number == self._waits:
                    await asyncio.Event().wait()
                if number == self._fails:
                    raise ValueError(number)
                yield number
        finally:
            self.ended = True


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_ahead_and_in_order() -> None:
    """Never more than one: of a folder without end little is held."""
    source = Source()
    found = []
    async with ahead(source.numbers()) as numbers:
        async for number in numbers:
            await turns()
            assert source.asked == min(number + 2, 5)
            found.append(number)
    assert found == [0, 1, 2, 3, 4] and source.ended


async def test_an_error_comes_in_its_turn() -> None:
    """What came before it has been worked on."""
    found = []
    with pytest.raises(ValueError):
        async with ahead(Source(fails=2).numbers()) as numbers:
            async for number in numbers:
                await turns()
                found.append(number)
    assert found == [0, 1]


@pytest.mark.parametrize("source", [Source(), Source(fails=1), Source(waits=1)], ids=["goes on", "fails", "waits"])
async def test_who_stops_leaves_nothing_behind(
    source: Source, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    """The one that was asked for ahead is not waited for, and its error is nobody's."""
    with pytest.raises(KeyError):
        async with ahead(source.numbers()) as numbers:
            async for _ in numbers:
                await turns()
                raise KeyError
    await turns()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others and not caplog.records and not recwarn.list


async def test_a_cancelled_caller_cancels_what_is_on_its_way() -> None:
    source = Source(waits=2)

    async def work() -> None:
        async with ahead(source.numbers()) as numbers:
            async for _ in numbers:
                pass

    working = asyncio.ensure_future(work())
    await turns()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert source.ended
