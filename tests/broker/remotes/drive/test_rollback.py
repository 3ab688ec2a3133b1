"""The rollback memory: an older state than was seen is refused, by this session and by later ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from broker.drive.errors import Unusable
from broker.drive.records import NodeId
from broker.remotes.drive.memory import Memory, forget, node_key
from broker.remotes.protocol import BadAnswer, Changes

from ..helpers import NOTHING, content_of, names_in, put, replaced
from .drives import drive

THING = node_key(NodeId(bytes(16)))


async def test_an_old_node_is_refused(tmp_path: Path) -> None:
    """The store hands out a file as it was: content and attributes are refused, and other files are not affected."""
    own = drive(memory=str(tmp_path / "seen"))
    first = await put(own.remote, b"f", b"old")
    await put(own.remote, b"other", b"text")
    node = own.store.rows[own.id_of(first)]
    old = replace(node)
    await replaced(own.remote, b"f", b"new", first)
    own.store.rows[own.id_of(first)] = old
    for attempt in (own.remote.stat(b"f"), names_in(own.remote, b"")):
        with pytest.raises(
            BadAnswer, match=r"older state than was seen before.*backup.*power loss.*key accept-rollback"
        ):
            await attempt
    assert await content_of(own.remote, b"other") == b"text"


async def test_an_old_entry_is_refused(tmp_path: Path) -> None:
    """A name that was removed cannot come back, nor be forgotten with its tombstone; a moved one neither."""
    own = drive(memory=str(tmp_path / "seen"))
    await put(own.remote, b"f", b"1")
    before = own.store.snapshot()
    await own.remote.remove(b"f")
    after = own.store.snapshot()
    own.store.restore(before)
    with pytest.raises(BadAnswer):
        await own.remote.stat(b"f")
    own.store.restore(after)
    own.store.entries.clear()
    with pytest.raises(BadAnswer):
        await own.remote.stat(b"f")


async def test_later_sessions_remember(tmp_path: Path) -> None:
    """What one session saw counts in the next, until it is told to forget."""
    own = drive(memory=str(tmp_path / "seen"))
    await put(own.remote, b"f", b"1")
    before = own.store.snapshot()
    await own.remote.set_attributes(b"f", Changes(mode=0o640))
    await own.core.close()
    own.store.restore(before)
    again = drive(own.identity, own.store, own.blobs, memory=str(tmp_path / "seen"))
    with pytest.raises(BadAnswer):
        await again.remote.stat(b"f")
    await again.core.close()
    assert forget(str(tmp_path / "seen"))
    accepted = drive(own.identity, own.store, own.blobs, memory=str(tmp_path / "seen"))
    assert await content_of(accepted.remote, b"f") == b"1"


async def test_an_answer_that_was_overtaken_is_no_attack(tmp_path: Path) -> None:
    """A change of our own can be seen before the answer to an earlier question: it is asked once more."""
    own = drive()
    await put(own.remote, b"f", b"1")
    late = own.store.lookup
    before = own.store.snapshot()

    async def overtaken(names: object) -> object:
        own.store.lookup = late  # type: ignore[method-assign]
        after = own.store.snapshot()
        own.store.restore(before)
        answer = await late(names)  # type: ignore[arg-type]
        own.store.restore(after)
        return answer

    await own.remote.set_attributes(b"f", Changes(mode=0o640))
    own.store.lookup = overtaken  # type: ignore[method-assign,assignment]
    assert (await own.remote.stat(b"f")).mode & 0o777 == 0o640


async def test_a_folder_seen_in_a_listing_only(tmp_path: Path) -> None:
    """A listing is remembered as a look is."""
    own = drive()
    await own.remote.mkdir(b"d", NOTHING)
    await put(own.remote, b"d/f", b"1")
    other = drive(own.identity, own.store, own.blobs)
    before = own.store.snapshot()
    await own.remote.set_attributes(b"d/f", Changes(mode=0o640))
    assert await names_in(other.remote, b"d") == [b"f"]
    own.store.restore(before)
    with pytest.raises(BadAnswer):
        await other.remote.stat(b"d/f")


def test_several_sessions_write_one_memory(tmp_path: Path) -> None:
    """The highest version counts, whoever saw it and in whatever order it is written down."""
    path = str(tmp_path / "seen")
    one, other = Memory(path), Memory(path)
    one.saw(THING, 7)
    other.saw(THING, 5)
    one.flush()
    other.flush()
    assert Memory(path).known(THING) == 7
    other.saw(THING, 9)
    other.close()
    one.close()
    assert Memory(path).known(THING) == 9


KILLED = """
import os, signal, sys
from broker.remotes.drive.memory import Memory
memory = Memory(sys.argv[1])
for version in range(1, 2000):
    memory.saw(bytes(16), version)
    memory.flush()
    if version == 1000:
        print("half", flush=True)
"""


def test_it_survives_a_kill(tmp_path: Path) -> None:
    """kill -9 while it is written: it can be opened, and remembers what was flushed."""
    path = str(tmp_path / "seen")
    process = subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"half\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert Memory(path).known(THING) >= 1000


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    """It says which nodes there are and how often they change."""
    Memory(str(tmp_path / "a/seen")).close()
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0


def test_a_damaged_memory_is_told(tmp_path: Path) -> None:
    """Not taken for an empty one in silence: it is named, with the command that removes it."""
    path = tmp_path / "seen"
    path.write_bytes(b"no database at all, but long enough to be one" * 100)
    with pytest.raises(Unusable, match=rf"{path} .* key accept-rollback"):
        Memory(str(path))
    assert forget(str(path))
    Memory(str(path)).close()


def test_a_memory_that_is_damaged_inside_is_told_and_removed(tmp_path: Path) -> None:
    """It opens, and fails when it is looked at; nothing can be written to it either, which is passed over."""
    path = tmp_path / "seen"
    memory = Memory(str(path))
    memory.saw_each((number.to_bytes(16), 1) for number in range(20_000))
    memory.close()
    with path.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(b"\xff" * 30 * 4096)
    memory = Memory(str(path))
    with pytest.raises(Unusable, match=rf"{path} .* key accept-rollback"):
        memory.read([(number.to_bytes(16), 1) for number in range(20_000)])
    memory.saw(THING, 7)
    memory.close()
    assert forget(str(path))
    assert Memory(str(path)).known(THING) == 0
