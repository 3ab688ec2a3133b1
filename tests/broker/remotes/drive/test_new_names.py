"""New names are made without a look first, in a folder that was looked up a moment ago: what is there wins."""

from __future__ import annotations

import pytest

from broker.remotes.protocol import AlreadyExists, BadAnswer, Changes

from ..helpers import content_of, names_in, put
from .drives import Drive, drive


@pytest.fixture
def own() -> Drive:
    return drive()


def other_of(own: Drive) -> Drive:
    """Another client, which has seen nothing of what the first one did."""
    return drive(own.identity, own.store, own.blobs)


async def test_one_question_for_many_names(own: Drive) -> None:
    """The folder is looked up for the first; the others are a commit each, and nothing else."""
    await own.remote.mkdir(b"d", Changes())
    other = other_of(own)
    await put(other.remote, b"d/first", b"1")
    own.store.asked.clear()
    for number in range(20):
        await put(other.remote, b"d/%d" % number, b"%d" % number)
    assert own.store.asked == {"commit": 20}
    assert await names_in(own.remote, b"d") == sorted([b"first", *(b"%d" % number for number in range(20))])


async def test_a_taken_name_is_kept(own: Drive) -> None:
    other = other_of(own)
    await put(other.remote, b"first", b"")
    await put(own.remote, b"name", b"theirs")
    with pytest.raises(AlreadyExists):
        await put(other.remote, b"name", b"ours")
    with pytest.raises(AlreadyExists):
        await other.remote.mkdir(b"name", Changes())
    assert await content_of(own.remote, b"name") == b"theirs"


async def test_a_name_that_somebody_has_removed(own: Drive) -> None:
    """Its tombstone is in the way of a commit for a name that never was."""
    other = other_of(own)
    await put(other.remote, b"first", b"")
    await put(own.remote, b"name", b"theirs")
    await own.remote.remove(b"name")
    await put(other.remote, b"name", b"ours")
    assert await content_of(own.remote, b"name") == b"ours"


async def test_a_name_that_is_known_to_have_been_there_is_looked_up(own: Drive) -> None:
    """A store that has forgotten a removed name cannot have it made as if it were new."""
    await put(own.remote, b"name", b"1")
    await own.remote.remove(b"name")
    await put(own.remote, b"other", b"")
    own.store.entries.clear()
    with pytest.raises(BadAnswer, match="older state"):
        await put(own.remote, b"name", b"2")


async def test_after_the_folder_has_moved(own: Drive) -> None:
    """Who has moved it himself makes names where the path leads now."""
    await own.remote.mkdir(b"d", Changes())
    await put(own.remote, b"d/first", b"")
    await own.remote.rename(b"d", b"e")
    await own.remote.mkdir(b"d", Changes())
    await put(own.remote, b"d/second", b"")
    assert await names_in(own.remote, b"e") == [b"first"]
    assert await names_in(own.remote, b"d") == [b"second"]
