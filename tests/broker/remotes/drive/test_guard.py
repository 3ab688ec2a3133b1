"""Answers of a store that are older than what was seen: asked for again, and refused if they stay so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker.drive.errors import Tampered
from broker.remotes.drive.guard import Guard
from broker.remotes.drive.memory import Memory

pytestmark = pytest.mark.anyio
Answer = dict[bytes, int]


def _versions(answer: Answer) -> Iterator[tuple[bytes, int]]:
    yield from answer.items()


async def test_an_answer_that_is_overtaken_every_time() -> None:
    """Each is as new as what was known before it was asked for: the last one is taken."""
    memory = Memory(None)
    now = {b"thing": 1}

    async def ask() -> Answer:
        answer = dict(now)
        now[b"thing"] += 1
        memory.saw(b"thing", now[b"thing"])
        return answer

    answer = await Guard(memory).ask(ask, _versions)
    assert answer[b"thing"] == memory.known(b"thing") - 1


async def test_something_new_that_is_overtaken_in_the_last_answer() -> None:
    """A folder in which names come and go all the time."""
    memory = Memory(None)
    count = 0

    async def ask() -> Answer:
        nonlocal count
        count += 1
        memory.saw(b"%d" % count, 2)
        return {b"%d" % count: 1}

    assert await Guard(memory).ask(ask, _versions) == {b"%d" % count: 1}


async def test_an_answer_that_is_overtaken_once() -> None:
    """It is asked for again, and the second one is taken."""
    memory = Memory(None)
    memory.saw(b"thing", 2)
    answers = iter([{b"thing": 1}, {b"thing": 2, b"new": 7}])

    async def ask() -> Answer:
        return next(answers)

    assert await Guard(memory).ask(ask, _versions) == {b"thing": 2, b"new": 7}
    assert memory.known(b"new") == 7


@pytest.mark.parametrize("busy", [False, True])
async def test_an_old_state(busy: bool) -> None:
    """It is refused, also while there are changes of our own; and also what is shown old for the first time in the
    last answer."""
    memory = Memory(None)
    memory.saw(b"old", 5)
    asked = 0

    async def ask() -> Answer:
        nonlocal asked
        asked += 1
        memory.saw(b"busy", asked)
        return {b"busy": asked - busy, b"old": 4}

    with pytest.raises(Tampered):
        await Guard(memory).ask(ask, _versions)
    assert asked == 2

    async def late() -> Answer:
        nonlocal asked
        asked += 1
        memory.saw(b"busy", asked)
        return {b"busy": asked - 1} | ({b"old": 4} if asked >= 8 else {})

    asked = 0
    with pytest.raises(Tampered):
        await Guard(memory).ask(late, _versions)
