"""The ledger: records survive, sessions see each other's, and nothing that is out of date comes back."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from unittest import mock

import pytest
from msgspec.structs import replace
from remotes.conftest import ROOT

from broker.mirror import ledger as ledger_module
from broker.mirror.ledger import _SMALL, _TIDY, Ledger
from broker.mirror.marks import Marks
from broker.mirror.records import Record
from broker.mirror.shared import Generation
from broker.mirror.vouching import NoVouch, Vouch
from broker.remotes.protocol import Version


def record(ino: int, *, dirty: bool = False, hydrated: bool = False, version: str = "1") -> Record:
    return Record(ino, Version(version), hydrated, dirty, 10, 20, 0o100644, 1, 8, b"digest", "identity")


class Session:
    """A ledger with the counters that it tells the others by."""

    def __init__(self, directory: Path, vouch: Vouch | None = None, marks: Marks | None = None) -> None:
        self.generation = Generation(str(directory / "generation"))
        self.ledger = Ledger(str(directory / "ledger.sqlite"), self.generation, vouch, marks)

    def __enter__(self) -> Ledger:
        return self.ledger

    def __exit__(self, *_: object) -> None:
        self.ledger.close()
        self.generation.close()


@contextmanager
def locked_by_another(directory: Path) -> Iterator[None]:
    """Another session is in the middle of a change."""
    with closing(sqlite3.connect(directory / "ledger.sqlite", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("COMMIT")


async def test_a_record_comes_back_as_it_was_put(tmp_path: Path) -> None:
    """Every column survives a new session, and an inode without a record has none."""
    with Session(tmp_path) as ledger:
        await ledger.put(record(1, dirty=True), record(2**62, hydrated=True))
    with Session(tmp_path) as ledger:
        assert ledger.peek(1) is None
        assert await ledger.get_many((1, 2**62, 3)) == {
            1: record(1, dirty=True),
            2**62: record(2**62, hydrated=True),
        }
        assert ledger.peek(1) == record(1, dirty=True)


async def test_add_leaves_what_is_there(tmp_path: Path) -> None:
    """A late record of a placeholder does not overwrite that of the dirty file which has its number by now."""
    with Session(tmp_path) as ledger:
        await ledger.put(record(1, dirty=True))
        await ledger.add(record(1, version="2"), record(2))
        assert await ledger.get(1) == record(1, dirty=True)
        assert await ledger.get(2) == record(2)


async def test_add_replaces_what_is_stale(tmp_path: Path) -> None:
    """A record that a killed session left of another node with that number does not make a placeholder complete."""
    with Session(tmp_path) as ledger:
        await ledger.put(record(1, hydrated=True), record(2, hydrated=True, version="2"))
        await ledger.add(record(1, version="2"), record(2, version="2"))
        assert await ledger.get(1) == record(1, version="2")
        assert await ledger.get(2) == record(2, hydrated=True, version="2")


async def test_more_records_than_one_query_can_name(tmp_path: Path) -> None:
    """Batches leave none out."""
    with Session(tmp_path) as ledger:
        await ledger.add(*(record(ino) for ino in range(1, 1502)))
    with Session(tmp_path) as ledger:
        assert len(await ledger.get_many(range(1, 2000))) == 1501


async def test_what_is_known_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many records the earlier leave the cache; who asks gets them from the database, one or all."""
    monkeypatch.setattr(ledger_module, "_KNOWN_MOST", 10)
    records = [record(ino) for ino in range(1, 100)]
    with Session(tmp_path) as ledger:
        for each in records:
            await ledger.put(each)
            assert ledger.peek(each.ino) == each
        assert ledger.peek(1) is None
        assert await ledger.get(1) == ledger.peek(1) == records[0]
        assert list((await ledger.get_many(range(1, 100))).values()) == records
        assert len(ledger._cache) < 120


async def test_mark_dirty_finds_only_what_is_on_record(tmp_path: Path) -> None:
    """A dropped node is not brought back by an open for writing that looked at it before."""
    with Session(tmp_path) as ledger:
        await ledger.put(record(1))
        assert await ledger.mark_dirty(1)
        assert await ledger.get(1) == record(1, dirty=True, hydrated=True)
        await ledger.drop(1)
        assert not await ledger.mark_dirty(1)
        assert await ledger.get(1) is None


async def test_drop_clean_keeps_all_when_one_is_dirty(tmp_path: Path) -> None:
    """A folder with something dirty below it is not forgotten in part."""
    with Session(tmp_path) as ledger:
        await ledger.put(record(1), record(2, dirty=True))
        assert not await ledger.drop_clean(1, 2)
        assert set(await ledger.get_many((1, 2))) == {1, 2}
        assert await ledger.drop_clean(1, 3)
        assert await ledger.get(1) is None


async def test_dirty_is_read_from_the_database(tmp_path: Path) -> None:
    """What another session has marked dirty is found, cached or not."""
    with Session(tmp_path) as one, Session(tmp_path) as other:
        await one.put(record(1), record(2))
        assert await other.get(1) == record(1)
        await one.mark_dirty(1)
        assert [each.ino for each in await other.dirty()] == [1]


async def test_another_session_makes_the_cache_invalid(tmp_path: Path) -> None:
    """Neither peek nor get give what another session has changed or dropped."""
    with Session(tmp_path) as one, Session(tmp_path) as other:
        await one.put(record(1), record(2))
        assert set(await other.get_many((1, 2))) == {1, 2}
        await one.put(record(1, version="2"))
        await one.drop(2)
        assert other.peek(1) is None
        assert await other.get_many((1, 2)) == {1: record(1, version="2")}
        assert other.peek(1) == record(1, version="2")
        assert other.last(2) is None


async def test_own_changes_leave_the_cache_valid(tmp_path: Path) -> None:
    """A session alone never reads back what it has written."""
    with Session(tmp_path) as ledger:
        await ledger.put(record(1))
        await ledger.mark_dirty(1)
        assert ledger.peek(1) == record(1, dirty=True, hydrated=True)


async def test_a_cache_emptied_in_the_middle_of_a_query_loses_no_record(tmp_path: Path) -> None:
    """What was at hand when a query began is in its answer: "no record" would let a dirty file go."""
    with Session(tmp_path) as one, Session(tmp_path) as other:
        await one.put(record(1, dirty=True), record(2), record(3))
        await other.get(1)
        asking = asyncio.ensure_future(other.get_many((1, 2)))
        await asyncio.sleep(0)
        await one.put(record(3, version="2"))
        await other.get(3)
        assert set(await asking) == {1, 2}


async def test_an_answer_from_before_a_change_is_not_cached(tmp_path: Path) -> None:
    """A query overtaken by another session's change, which somebody has noticed meanwhile, is not remembered."""
    with Session(tmp_path) as one, Session(tmp_path) as other:
        await one.put(record(1), record(2))
        asking = asyncio.ensure_future(other.get(1))
        await asyncio.sleep(0)
        other._thread.submit(lambda: None).result()  # The query has been answered; its answer waits in the loop.
        change_in_another_process(tmp_path)
        noticing = asyncio.ensure_future(other.get(2))
        await asyncio.gather(asking, noticing)
        found = await other.get(1)
        assert found is not None and found.version == "9"


def change_in_another_process(directory: Path) -> None:
    script = (
        "import asyncio, sys; from pathlib import Path; from mirror.test_ledger import Session, record\n"
        "with Session(Path(sys.argv[1])) as ledger: asyncio.run(ledger.put(record(1, version='9')))"
    )
    path = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests/broker')!r}]\n"
    subprocess.run([sys.executable, "-c", path + script, str(directory)], check=True)


async def test_a_cancelled_change_is_not_taken_for_undone(tmp_path: Path) -> None:
    """The thread may finish what nobody waits for any more: the cache must not say otherwise."""
    with Session(tmp_path) as ledger:
        await ledger.put(record(1))
        with locked_by_another(tmp_path):
            changing = asyncio.ensure_future(ledger.mark_dirty(1))
            await asyncio.sleep(0)
        ledger._thread.submit(lambda: None).result()
        changing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await changing
        assert await ledger.get(1) == record(1, dirty=True, hydrated=True)


async def test_the_loop_runs_while_another_session_has_the_database(tmp_path: Path) -> None:
    """A small change is made at once, or else waits on the thread."""
    with Session(tmp_path) as ledger:
        with locked_by_another(tmp_path):
            changing = asyncio.ensure_future(ledger.put(record(1)))
            for _ in range(3):
                await asyncio.sleep(0.01)
            assert not changing.done()
        await changing
        assert await ledger.get(1) == record(1)


async def test_the_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    """It is copied into the database now and then."""
    with Session(tmp_path) as ledger:
        sizes = []
        for count in range(4 * _TIDY):
            await ledger.put(record(count % 7, dirty=bool(count & 1)))
            if count % _TIDY == 0:
                ledger._thread.submit(lambda: None).result()
                sizes.append((tmp_path / "ledger.sqlite-wal").stat().st_size)
    assert max(sizes) <= 3 * sizes[1]


async def test_a_failed_change_leaves_nothing(tmp_path: Path) -> None:
    """An error in the middle is rolled back, and the ledger goes on."""
    with Session(tmp_path) as ledger:
        with pytest.raises(sqlite3.Error):
            await ledger.put(record(1), replace(record(2), version=None))  # type: ignore[arg-type]
        assert await ledger.get_many((1, 2)) == {}
        await ledger.put(record(1))
        assert await ledger.get(1) == record(1)


def test_sessions_that_start_and_write_together_do_not_fail(tmp_path: Path) -> None:
    """Eight processes make the ledger at once and change it: none sees "database is locked", nothing is lost.

    They wait for one another just before, as the sessions of a pipeline on a new mirror may.
    """
    script = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests/broker')!r}]\n"
        "import asyncio; from pathlib import Path; from mirror.test_ledger import Session, record\n"
        "async def work(ledger, first):\n"
        "    for ino in range(first, first + 5): await ledger.put(record(ino))\n"
        "print(flush=True); sys.stdin.readline()\n"
        "for folder in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    with Session(folder) as ledger: asyncio.run(work(ledger, int(sys.argv[2])))\n"
    )
    for number in range(10):
        (tmp_path / str(number)).mkdir()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), str(1 + 5 * number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(8)
    ]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    for process in running:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.stdout.close()
    assert [process.wait(60) for process in running] == [0] * 8
    for folder in tmp_path.iterdir():
        with Session(folder) as ledger:
            assert len(asyncio.run(ledger.get_many(range(1, 100)))) == 40


def test_a_session_waits_while_another_makes_the_ledger(tmp_path: Path) -> None:
    """Two sessions that made it at the same time would be refused "database is locked" by SQLite at once."""
    with (tmp_path / "ledger.sqlite.starting").open("w") as starting, ThreadPoolExecutor(1) as pool:
        fcntl.flock(starting, fcntl.LOCK_EX)
        opening = pool.submit(Session, tmp_path)
        with pytest.raises(TimeoutError):
            opening.result(0.1)
        fcntl.flock(starting, fcntl.LOCK_UN)
        with opening.result(10) as ledger:
            assert asyncio.run(ledger.dirty()) == []


def test_a_kill_keeps_what_was_confirmed(tmp_path: Path) -> None:
    """What put has returned for is on record after kill -9 of the session."""
    script = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests/broker')!r}]\n"
        "import asyncio, os, signal; from pathlib import Path; from mirror.test_ledger import Session, record\n"
        "async def work():\n"
        "    session = Session(Path(sys.argv[1]))\n"
        "    await session.ledger.put(record(7, dirty=True))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(work())\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)]).returncode == -9
    with Session(tmp_path) as ledger:
        assert [each.ino for each in asyncio.run(ledger.dirty())] == [7]


class Nodes(NoVouch):
    """How nodes are shown, as a `Vouch` was told last."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[int | None, int | None, int, bool]] = {}

    def node(self, ino: int, nlink: int | None, blocks: int | None, set_id: int, dirty: bool) -> None:
        self.known[ino] = nlink, blocks, set_id, dirty

    def forget_node(self, ino: int) -> None:
        self.known.pop(ino, None)

    def forget_nodes(self) -> None:
        self.known.clear()


async def test_nodes_are_vouched_for_while_their_record_is_at_hand(tmp_path: Path) -> None:
    """Placeholders with the remote's blocks, dirty files with their own; folders and dropped nodes not at all; and
    nothing that was read before another session's change."""
    nodes = Nodes()
    with Session(tmp_path, nodes) as ledger, Session(tmp_path) as other:
        folder = replace(record(5), mode=0o40755)
        set_id = replace(record(6, hydrated=True), mode=0o104755, nlink=2)
        await ledger.put(record(1), record(2, hydrated=True), record(3, dirty=True), record(4), folder, set_id)
        await ledger.drop(4)
        assert nodes.known == {
            1: (1, 8, 0, False),
            2: (1, None, 0, False),
            3: (1, None, 0, True),
            6: (2, None, 0o4000, False),
        }
        await other.put(record(1, hydrated=True))
        await ledger.get(1)
        assert nodes.known == {1: (1, None, 0, False)}


async def test_last_has_what_was_just_read(tmp_path: Path) -> None:
    """Also when another session's change makes somebody else forget all in the middle of the reading."""
    with Session(tmp_path) as ledger, Session(tmp_path) as other:
        await other.put(record(1), record(2))
        reading = asyncio.ensure_future(ledger.get_many(range(1, 2 * _SMALL)))
        await asyncio.sleep(0)
        await other.put(record(2, dirty=True))
        await ledger.get(2)
        await reading
        assert ledger.last(1) == record(1)


@pytest.mark.parametrize("reading", [True, False])
async def test_a_small_change_overtakes_a_large_one(tmp_path: Path, reading: bool) -> None:
    """What a thread has read or written before is not taken for newer than what has been changed since."""
    many = [record(ino) for ino in range(1, 1000)]
    with Session(tmp_path) as ledger:
        await ledger.put(*many)
        ledger._forget()
        busy, go = threading.Event(), threading.Event()
        _select = ledger_module._select

        def slow(database: sqlite3.Connection, inos: Sequence[int]) -> dict[int, Record]:
            found = _select(database, inos)
            if len(inos) > 1:
                busy.set()
                go.wait(10)
            return found

        with mock.patch.object(ledger_module, "_select", slow):
            inos = [each.ino for each in many]
            work = ledger.get_many(inos) if reading else ledger.put(*many)
            large = asyncio.ensure_future(work)  # type: ignore[arg-type]
            await asyncio.to_thread(busy.wait, 10)
            small = asyncio.ensure_future(ledger.mark_dirty(1))
            await asyncio.sleep(0.01)
            go.set()
            await asyncio.gather(large, small)
        assert await ledger.get(1) == record(1, dirty=True, hydrated=True)


async def test_a_late_answer_takes_no_mark_away(tmp_path: Path) -> None:
    """What became dirty after a large change was made, but before that was heard of, stays marked."""
    many = [record(ino) for ino in range(1, 2 * _SMALL)]
    marks = Marks(str(tmp_path))
    session = Session(tmp_path, marks=marks)
    with closing(marks), session as ledger, mock.patch.object(session.generation, "bump") as bump:
        committed, go = threading.Event(), threading.Event()

        def first() -> None:
            bump.side_effect = None
            committed.set()
            go.wait(10)

        bump.side_effect = first
        large = asyncio.ensure_future(ledger.put(*many))
        await asyncio.to_thread(committed.wait, 10)
        await ledger.mark_dirty(1)
        go.set()
        await large
    with closing(Marks(str(tmp_path))) as later:
        assert later.left() == {1: Version("1")}


async def test_a_full_disk_gives_up_what_was_put_by(tmp_path: Path) -> None:
    """What has to be on record before anything can be evicted has the room for it; once, and then it is ENOSPC."""
    reserves = [200, 0]

    def limit(pages: int) -> None:
        for database in (ledger._at_once, ledger._database):
            database.execute(f"PRAGMA max_page_count = {pages}")

    def spend() -> bool:
        pages = reserves.pop(0)
        if pages:
            limit(before + pages)
        return pages > 0

    generation = Generation(str(tmp_path / "generation"))
    ledger = Ledger(str(tmp_path / "ledger.sqlite"), generation, spend=spend)
    try:
        (before,) = ledger._at_once.execute("PRAGMA page_count").fetchone()
        limit(before)
        await ledger.put(*(record(ino) for ino in range(1000)))
        assert reserves == [0] and len(await ledger.get_many(range(1000))) == 1000
        with pytest.raises(OSError, match="no room is left in the cache: free some at ") as caught:
            await ledger.put(*(record(ino) for ino in range(1000, 99_000)))
        assert caught.value.errno == errno.ENOSPC and str(tmp_path) in str(caught.value)
    finally:
        ledger.close()
        generation.close()
