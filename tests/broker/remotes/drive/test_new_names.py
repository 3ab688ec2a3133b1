"""New names are made where their path leads now, whatever another client has done since the last look."""

from __future__ import annotations

import pytest

from broker.remotes.protocol import AlreadyExists, Changes, NotADirectory

from ..helpers import content_of, names_in, put
from .drives import Drive, drive


@pytest.fixture
def own() -> Drive:
    return drive()


@pytest.fixture
def other(own: Drive) -> Drive:
    """Another client of the same drive."""
    return drive(own.identity, own.store, own.blobs)


async def test_a_taken_name_is_kept(own: Drive, other: Drive) -> None:
    await put(other.remote, b"first", b"")
    await put(own.remote, b"name", b"theirs")
    with pytest.raises(AlreadyExists):
        await put(other.remote, b"name", b"ours")
    with pytest.raises(AlreadyExists):
        await other.remote.mkdir(b"name", Changes())
    assert await content_of(own.remote, b"name") == b"theirs"


async def test_a_name_that_somebody_has_removed(own: Drive, other: Drive) -> None:
    await put(other.remote, b"first", b"")
    await put(own.remote, b"name", b"theirs")
    await own.remote.remove(b"name")
    await put(other.remote, b"name", b"ours")
    assert await content_of(own.remote, b"name") == b"ours"


async def test_in_a_folder_that_has_moved(own: Drive, other: Drive) -> None:
    """Another folder has its name: the new file is in that."""
    await own.remote.mkdir(b"d", Changes())
    await put(other.remote, b"d/first", b"")
    await own.remote.rename(b"d", b"e")
    await own.remote.mkdir(b"d", Changes())
    await put(other.remote, b"d/second", b"")
    assert await names_in(own.remote, b"e") == [b"first"]
    assert await names_in(own.remote, b"d") == [b"second"]


async def forsaken(own: Drive, other: Drive) -> None:
    """The other client has looked at a folder `d` that is gone by now."""
    await own.remote.mkdir(b"d", Changes())
    await put(other.remote, b"d/first", b"")
    await own.remote.remove(b"d/first")
    await own.remote.rmdir(b"d")


async def test_in_a_folder_that_was_made_anew(own: Drive, other: Drive) -> None:
    await forsaken(own, other)
    await own.remote.mkdir(b"d", Changes())
    await put(other.remote, b"d/second", b"")
    assert await names_in(own.remote, b"d") == [b"second"]


async def test_in_a_folder_that_is_a_file_by_now(own: Drive, other: Drive) -> None:
    await forsaken(own, other)
    await put(own.remote, b"d", b"")
    with pytest.raises(NotADirectory):
        await put(other.remote, b"d/second", b"")
