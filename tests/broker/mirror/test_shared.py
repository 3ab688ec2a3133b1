"""Counters and locks between sessions: changes are noticed, locks exclude, and go with their holder."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from remotes.conftest import ROOT

from broker.mirror.shared import Generation, Locks


@contextlib.contextmanager
def generations(path: Path, count: int) -> Iterator[list[Generation]]:
    made = [Generation(str(path / "generation")) for _ in range(count)]
    try:
        yield made
    finally:
        for each in made:
            each.close()


def test_a_change_is_seen_by_the_others_only(tmp_path: Path) -> None:
    """The session that changed the ledger does not invalidate itself; the others do so once."""
    with generations(tmp_path, 2) as (one, other):
        one.bump()
        assert not one.changed()
        assert other.changed()
        other.take()
        assert not other.changed()


def test_a_new_session_knows_what_was(tmp_path: Path) -> None:
    """Changes from before it do not count."""
    with generations(tmp_path, 1) as (one,):
        one.bump()
        with generations(tmp_path, 1) as (late,):
            assert not late.changed()
            one.bump()
            assert late.changed()


def test_sessions_beyond_the_slots_share_one(tmp_path: Path) -> None:
    """With more sessions than slots every change is still noticed by all others."""
    with generations(tmp_path, 66) as sessions:
        for session in sessions:
            session.take()
        for changing in (sessions[64], sessions[65]):
            changing.bump()
            for other in sessions:
                assert other is changing or other.changed()
                other.take()


def test_alone(tmp_path: Path) -> None:
    """A session knows whether there is another."""
    with generations(tmp_path, 1) as (one,):
        assert one.alone()
        with generations(tmp_path, 1) as (other,):
            assert not one.alone()
            assert not other.alone()
        assert one.alone()


@given(st.binary(max_size=30), st.binary(max_size=30))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_folder_tokens(tmp_path: Path, folder: bytes, other: bytes) -> None:
    """A folder's token changes with it, for all sessions, and does not when nothing was touched."""
    with generations(tmp_path, 2) as (one, two):
        before, elsewhere = two.folder(folder), two.folder(other)
        assert one.folder(folder) == before
        one.touch_folder(folder)
        assert two.folder(folder) != before
        if one._folder_slot(folder) != one._folder_slot(other):
            assert two.folder(other) == elsewhere


async def test_a_node_is_held_by_one_task(tmp_path: Path) -> None:
    """Tasks of one session and of another take turns at a node; another node is free."""
    one, other = Locks(str(tmp_path / "locks")), Locks(str(tmp_path / "locks"))
    inside: list[str] = []

    async def work(locks: Locks, name: str) -> None:
        async with locks.node(5):
            inside.append(name)
            assert len(inside) == 1
            await asyncio.sleep(0.002)
            inside.remove(name)

    async with one.node(6):
        await asyncio.gather(*(work(locks, f"{locks}{number}") for locks in (one, other) for number in range(4)))
    assert not one._inside
    one.close()
    other.close()


async def test_names_are_taken_in_one_order(tmp_path: Path) -> None:
    """Two renames across each other do not wait in a ring, and one name twice is one lock."""
    locks = Locks(str(tmp_path / "locks"))

    async def work(*paths: bytes) -> None:
        for _ in range(10):
            async with locks.names(*paths):
                await asyncio.sleep(0)

    await asyncio.wait_for(asyncio.gather(work(b"a", b"b"), work(b"b", b"a"), work(b"a", b"a")), 10)
    locks.close()


async def test_a_node_and_a_name_are_different_locks(tmp_path: Path) -> None:
    """Whatever the hash of a name, it is not the number of a node."""
    locks = Locks(str(tmp_path / "locks"))
    async with locks.names(b"a"):
        for number in list(locks._inside):
            assert number >= 1 << 62
    locks.close()


async def test_waiting_can_be_cancelled(tmp_path: Path) -> None:
    """A waiter that goes away, in the session or outside, leaves the lock in order."""
    one, other = Locks(str(tmp_path / "locks")), Locks(str(tmp_path / "locks"))

    async def take(locks: Locks) -> None:
        async with locks.node(1):
            pass

    async with one.node(1):
        for locks in (one, other):
            waiting = asyncio.ensure_future(take(locks))
            await asyncio.sleep(0.005)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
    assert not one._inside and not other._inside
    await asyncio.wait_for(asyncio.gather(take(one), take(other)), 10)
    one.close()
    other.close()


async def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    """The kernel drops what a killed session held."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import asyncio; from broker.mirror.shared import Locks\n"
        "async def work():\n"
        "    async with Locks(sys.argv[1]).node(1):\n"
        "        print('held', flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(work())\n"
    )
    path = str(tmp_path / "locks")
    locks = Locks(path)
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE) as holder:  # noqa: ASYNC220
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        entering = asyncio.ensure_future(locks.node(1).__aenter__())
        await asyncio.sleep(0.02)
        assert not entering.done()
        holder.kill()
        await asyncio.wait_for(entering, 10)
    locks.close()


async def test_names_change_together_or_a_folder_is_filled(tmp_path: Path) -> None:
    """Several change names in a folder at once, in one session or two; who fills it does so alone, or not at all."""
    one, other = (Locks(str(tmp_path / "locks")) for _ in range(2))
    entered = asyncio.Event()

    async def change(locks: Locks) -> None:
        async with locks.changing(b"d", b"e"):
            entered.set()

    for locks in (one, other):
        async with one.changing(b"d"), one.changing(b"e", b"d"), other.changing(b"d"):
            async with locks.filling(b"d") as alone:
                assert not alone
            async with locks.filling(b"f") as alone:
                assert alone
        async with one.filling(b"d") as alone, locks.filling(b"d") as too:
            assert alone and not too
            waiting = asyncio.ensure_future(change(locks))
            await asyncio.sleep(0.02)
            assert not entered.is_set()
        await waiting
        entered.clear()
    async with other.filling(b"d") as alone:
        assert alone
    one.close()
    other.close()


async def test_who_goes_away_while_waiting_to_change_leaves_nothing(tmp_path: Path) -> None:
    """A call that is cancelled while a folder is being filled holds up nobody afterwards."""
    one, other = (Locks(str(tmp_path / "locks")) for _ in range(2))
    for filler in (one, other):
        async with filler.filling(b"d"):
            waiting = asyncio.ensure_future(one.changing(b"d").__aenter__())
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.wait([waiting])
        async with other.filling(b"d") as alone:
            assert alone
    one.close()
    other.close()
