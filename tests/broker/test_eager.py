"""A coroutine that is started at once does what a task does."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.eager import start

Steps = list[tuple[str, int]]


def test_what_need_not_wait_has_ended_at_once() -> None:
    """There is no task, nor a loop."""
    done = []

    async def work() -> None:
        done.append(1)

    assert start(work()) is None
    assert done == [1]


def test_an_exception_before_the_first_wait_is_the_callers() -> None:
    """It is raised by start itself."""

    async def work() -> None:
        raise KeyError("now")

    with pytest.raises(KeyError):
        start(work())


def test_an_exception_after_a_wait_is_the_tasks() -> None:
    """Whoever awaits the task sees it."""

    async def work() -> None:
        await asyncio.sleep(0)
        raise KeyError("later")

    async def main() -> None:
        task = start(work())
        assert task is not None
        with pytest.raises(KeyError):
            await task

    asyncio.run(main())


@pytest.mark.parametrize("pause", [0, 1], ids=["during the first wait", "after the task's first step"])
@pytest.mark.parametrize("first", ["sleep", "future"])
def test_a_cancellation_reaches_the_coroutine(pause: int, first: str) -> None:
    """It may catch it and still do its work, as a call must to be answered; the future it waited for is cancelled."""
    said = []

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()

        async def work() -> None:
            try:
                await (future if first == "future" else asyncio.sleep(0 if not pause else 60))
            except asyncio.CancelledError:
                said.append("cancelled")
            await asyncio.sleep(0)
            said.append("answered")

        task = start(work())
        assert task is not None
        for _ in range(pause):
            await asyncio.sleep(0)
        task.cancel()
        await task
        assert future.cancelled() == (first == "future")

    asyncio.run(main())
    assert said == ["cancelled", "answered"]


def test_a_lock_is_handed_on() -> None:
    """Waiting for a lock, and being cancelled in that wait, leaves it usable."""

    async def main() -> None:
        lock, order = asyncio.Lock(), []

        async def work(name: str) -> None:
            async with lock:
                order.append(name)
                await asyncio.sleep(0)

        tasks = [start(work(name)) for name in "abc"]
        assert tasks[1] is not None
        tasks[1].cancel()
        await asyncio.gather(*(task for task in tasks if task), return_exceptions=True)
        assert order == ["a", "c"]
        assert not lock.locked()

    asyncio.run(main())


_WHAT = ["note", "yield", "future", "shield", "raise", "forever"]
_STEPS = st.lists(st.tuples(st.sampled_from(_WHAT), st.integers(0, 2)), max_size=6)


@settings(max_examples=100, deadline=None)
@given(steps=_STEPS)
def test_it_does_what_a_task_does(steps: Steps) -> None:
    """The same notes and the same end, for any waits, with a cancellation wherever it waits for ever."""
    assert asyncio.run(_run(steps, eager=True)) == asyncio.run(_run(steps, eager=False))


async def _run(steps: Steps, *, eager: bool) -> tuple[list[str], str]:
    notes: list[str] = []
    stuck = asyncio.Event()
    work = _work(steps, notes, stuck)
    task = start(work) if eager else asyncio.create_task(work)
    while task is not None and not task.done():
        if stuck.is_set():
            stuck.clear()
            task.cancel()
        await asyncio.sleep(0)
    if task is None or task.cancelled():
        return notes, "ended" if task is None else "cancelled"
    return notes, "ended" if task.exception() is None else repr(task.exception())


async def _work(steps: Steps, notes: list[str], stuck: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for what, number in steps:
        notes.append(f"{what} {number}")
        try:
            if what == "yield":
                await asyncio.sleep(0)
            elif what == "raise":
                await asyncio.sleep(0)
                raise ValueError(number)
            elif what != "note":
                future = loop.create_future()
                if what == "forever":
                    stuck.set()
                else:
                    loop.call_soon(future.set_result, None)
                await (asyncio.shield(future) if what == "shield" else future)
        except asyncio.CancelledError:
            notes.append("caught")
            if number == 2:
                raise
