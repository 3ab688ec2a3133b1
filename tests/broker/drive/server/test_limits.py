"""What a server takes on at once."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.drive.http.codec import MSGPACK
from broker.drive.http.routes import REGISTER_MAX
from broker.drive.server.limits import Budget, Busy, Gate, Limits, Rate
from tests.broker.drive.server.people import person
from tests.broker.drive.server.serving import served


@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 3), st.booleans()), max_size=30))
def test_a_budget_is_never_exceeded_and_serves_everybody(holds: list[tuple[int, int, bool]]) -> None:
    """Whatever is held for however long, and whoever gives up while waiting; in the end all of it is free again."""
    held = 0

    async def hold(budget: Budget, count: int, turns: int) -> None:
        nonlocal held
        async with budget.hold(count):
            held += min(count, 100)
            assert held <= 100
            for _ in range(turns):
                await asyncio.sleep(0)
            held -= min(count, 100)

    async def run() -> None:
        budget = Budget(100)
        tasks = []
        for count, turns, gives_up in holds:
            task = asyncio.create_task(hold(budget, count, turns))
            tasks.append(task)
            await asyncio.sleep(0)
            if gives_up and held == 0:
                task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        async with asyncio.timeout(1), budget.hold(100):
            pass

    asyncio.run(run())


def test_who_gives_up_waiting_leaves_the_budget_as_it_was() -> None:
    """Before its turn, and in the very moment of it."""

    async def run() -> None:
        budget = Budget(10)
        async with budget.hold(10):
            early, late = (asyncio.create_task(hold_for_ever(budget)) for _ in range(2))
            await asyncio.sleep(0)
            early.cancel()
            await asyncio.sleep(0)
        late.cancel()  # its turn has come; it has not run since
        await asyncio.gather(early, late, return_exceptions=True)
        async with asyncio.timeout(1), budget.hold(10):
            pass

    async def hold_for_ever(budget: Budget) -> None:
        async with budget.hold(10):
            await asyncio.sleep(3600)

    asyncio.run(run())


def test_a_large_body_is_not_overtaken_for_ever() -> None:
    async def run() -> None:
        order = []
        budget = Budget(10)

        async def hold(count: int) -> None:
            async with budget.hold(count):
                order.append(count)
                await asyncio.sleep(0)

        await asyncio.gather(*(hold(count) for count in (4, 4, 10, 1, 1)))
        assert order == [4, 4, 10, 1, 1]

    asyncio.run(run())


def test_requests_are_counted_together_and_by_user() -> None:
    gate = Gate(Limits(requests=3, requests_of_user=2))
    with gate.request(), gate.request_of(b"a"), gate.request(), gate.request_of(b"a"), gate.request():
        assert gate.under_way == 3
        with pytest.raises(Busy), gate.request():
            pass
        with pytest.raises(Busy), gate.request_of(b"a"):
            pass
        with gate.request_of(b"b"):
            pass
    assert gate.under_way == 0
    with gate.request_of(b"a"), gate.request_of(b"a"):
        pass


def test_addresses_have_buckets_of_their_own() -> None:
    """So many at once, then so many a second; and no memory is kept of more than so many addresses."""
    now = 0.0
    rate = Rate(2.0, 3, lambda: now)
    for _ in range(3):
        rate.take("one")
    with pytest.raises(Busy) as busy:
        rate.take("one")
    assert busy.value.seconds == pytest.approx(0.5)
    rate.take("other")
    now = 0.5
    rate.take("one")
    with pytest.raises(Busy):
        rate.take("one")
    now = 1000.0
    for _ in range(3):
        rate.take("one")
    for number in range(2 * Rate._ADDRESSES):
        rate.take(f"address {number}")
    assert len(rate._buckets) <= Rate._ADDRESSES


def test_strangers_are_not_in_the_way_of_users(metadata_url: str, blobs_url: str) -> None:
    """However many bodies they announce, and send byte by byte: these end after a while, and users wait for none."""

    async def slow(url: str) -> bytes:
        host, _, port = url.rpartition("/")[2].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        length = f"content-type: {MSGPACK}\r\ncontent-length: {REGISTER_MAX}"
        writer.write(f"POST /register HTTP/1.1\r\nhost: {host}\r\n{length}\r\n\r\n".encode())
        answer = asyncio.create_task(reader.read(1000))
        while not answer.done():
            writer.write(b"x")
            await asyncio.sleep(0.1)
        writer.close()
        return answer.result()

    async def run() -> None:
        limits = {"bodies": 4 * REGISTER_MAX, "registrations": 4 * REGISTER_MAX, "silence": 1.0}
        async with served(metadata_url, blobs_url, **limits) as server:
            alice = await person(server.url)
            attack = [asyncio.create_task(slow(server.url)) for _ in range(8)]
            await asyncio.sleep(0.3)
            async with asyncio.timeout(0.6):
                await alice.metadata.usage()
            async with asyncio.timeout(10):
                answers = await asyncio.gather(*attack)
            assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
            await alice.close()

    asyncio.run(run())
