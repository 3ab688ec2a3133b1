"""Answers of a store that are older than what was seen: asked for again, and refused if they stay so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from broker.drive.errors import Tampered
from broker.remotes.drive.guard import Guard
from broker.remotes.drive.memory import Memory

pytestmark = pytest.mark.anyio
Answer = dict[bytes, int]


class Watched(Memory):
    """Tells where the disk is asked, and does something before it answers."""

    def __init__(self, path: Path, meanwhile: Callable[[], None] = lambda: None) -> None:
        super().__init__(str(path))
        self.threads: list[int] = []
        self._meanwhile = meanwhile

    def read(self, missing: Sequence[tuple[bytes, int]]) -> dict[bytes, int]:
        self.threads.append(threading.get_ident())
        self._meanwhile()
        return super().read(missing)


def _many(version: int) -> Answer:
    return {b"%d" % number: version for number in range(1000)}


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


async def test_many_things_do_not_keep_the_loop(tmp_path: Path) -> None:
    """The disk is asked for them on a thread, and for few at once; what it knows counts either way."""
    memory = Watched(tmp_path / "seen")
    memory.saw_each(_many(2).items())
    memory.close()

    async def ask(number: int) -> Answer:
        return dict.fromkeys(list(_many(1))[:number], 1)

    for number, on_loop in ((3, True), (1000, False)):
        memory = Watched(tmp_path / "seen")
        with pytest.raises(Tampered):
            await Guard(memory).ask(lambda number=number: ask(number), _versions)
        assert [thread == threading.get_ident() for thread in memory.threads] == [on_loop]
        memory.close()


async def test_what_is_seen_while_the_disk_is_asked(tmp_path: Path) -> None:
    """It stays known, and the answers that it overtakes are none of an old state."""
    loop = asyncio.get_running_loop()
    versions = iter(range(1, 1000))

    def meanwhile() -> None:
        asyncio.run_coroutine_threadsafe(see(), loop).result(10)

    async def see() -> None:
        memory.saw(b"7", latest := next(versions) + 1)
        known.append(latest)

    async def ask() -> Answer:
        memory._known.clear()  # as if it were full each time
        return _many(1) | {b"7": known[-1] if known else 1}

    known: list[int] = []
    memory = Watched(tmp_path / "seen", meanwhile)
    answer = await Guard(memory).ask(ask, _versions)
    assert answer[b"7"] == known[-2] and memory.known(b"7") == known[-1] > 2
    memory.close()
