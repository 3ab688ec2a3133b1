"""Content of the drive: what is sent, what is reused, what is in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from broker.drive.errors import Missing, Unreachable
from broker.drive.format.chunks import CHUNK
from broker.drive.format.manifest import DIRECT, SPAN
from broker.drive.records import INLINE_MAX, BlobName
from broker.remotes.drive import reading, uploading
from broker.remotes.drive.checking import check
from broker.remotes.drive.pieces import data_in, with_data
from broker.remotes.drive.roots import home_of
from broker.remotes.protocol import Attributes, NotFound, Unavailable, VersionChanged

from ..helpers import NOTHING, content_of, put, source
from .doubles import MemoryBlobs
from .drives import Drive, drive

MIB = 1 << 20


@contextmanager
def file_of(pieces: dict[int, bytes], size: int) -> Iterator[int]:
    """A sparse file with some bytes at some offsets."""
    file = os.memfd_create("sparse")
    try:
        os.ftruncate(file, size)
        for offset, data in pieces.items():
            os.pwrite(file, data, offset)
        yield file
    finally:
        os.close(file)


async def rewritten(own: Drive, base: Attributes, content: bytes) -> tuple[Attributes, int]:
    """(what is there then, how many blobs it took)."""
    before = len(own.blobs.blobs)
    with source(content) as file:
        after = await own.remote.write(b"f", file, base.version, NOTHING)
    return after, len(own.blobs.blobs) - before


@pytest.mark.parametrize("size", [0, 1, INLINE_MAX, INLINE_MAX + 1, CHUNK, CHUNK + 1, 3 * CHUNK - 1])
async def test_sizes_at_the_borders(size: int) -> None:
    """Empty, kept beside the node, one chunk, several: each comes back, also through another client."""
    own = drive()
    content = os.urandom(size)
    await put(own.remote, b"f", content)
    assert len(own.blobs.blobs) == (0 if size <= INLINE_MAX else -(-size // CHUNK))
    for remote in (own.remote, drive(own.identity, own.store, own.blobs).remote):
        assert await content_of(remote, b"f") == content


async def test_sizes_change_over_the_borders() -> None:
    """From short to long and back, nothing of the old content is left."""
    own = drive()
    at = await put(own.remote, b"f", b"short")
    for content in (os.urandom(2 * CHUNK), b"short again", os.urandom(CHUNK), b""):
        at, _ = await rewritten(own, at, content)
        assert await content_of(own.remote, b"f") == content
    assert not own.store.rows[own.id_of(at)].chunks


async def test_only_what_has_changed_is_sent() -> None:
    """One byte is one chunk, an append is the last one, the same content is none; a copy is sent as a whole."""
    own = drive()
    content = bytearray(os.urandom(10 * CHUNK))
    at = await put(own.remote, b"f", content)
    content[5 * CHUNK + 17] ^= 1
    at, sent = await rewritten(own, at, bytes(content))
    assert sent == 1
    content += b"more"
    at, sent = await rewritten(own, at, bytes(content))
    assert sent == 1
    at, sent = await rewritten(own, at, bytes(content))
    assert sent == 0
    assert await content_of(own.remote, b"f") == content
    before = len(own.blobs.blobs)
    await put(own.remote, b"copy", content)
    assert len(own.blobs.blobs) == before + 11


async def test_a_sparse_file_of_terabytes() -> None:
    """Only what is no hole is sent or kept: the chunk list is spilled, and a change sends a chunk and its leaf."""
    own = drive()
    size = 5 << 40
    places = {(number << 37) + 12345: b"here %d" % number for number in range(39)}
    with file_of(places, size) as file:
        at = await own.remote.write(b"f", file, None, NOTHING)
        assert at.size == size
        assert at.blocks is not None and at.blocks * 512 <= 39 * CHUNK
        assert len(own.blobs.blobs) == 2 * 39
        for offset, text in places.items():
            assert await own.remote.read(b"f", at.version, offset - 1, len(text) + 2) == b"\0" + text + b"\0"
        os.pwrite(file, b"!", 3 << 40)
        before = len(own.blobs.blobs)
        at = await own.remote.write(b"f", file, at.version, NOTHING)
    assert len(own.blobs.blobs) == before + 2
    assert await own.remote.read(b"f", at.version, (3 << 40) - 1, 3) == b"\0!\0"
    assert await own.remote.read(b"f", at.version, size - 5, 100) == bytes(5)


async def test_a_failed_upload_changes_nothing() -> None:
    """The store gives out in the middle: the old content stays, and the next attempt succeeds."""
    own = drive()
    old = os.urandom(30 * CHUNK)
    at = await put(own.remote, b"f", old)
    honest, left = own.blobs.put, 5

    async def failing(name: object, data: object, *, durable: bool = True) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Unreachable("as planned")
        await honest(name, data, durable=durable)  # type: ignore[arg-type]

    own.blobs.put = failing  # type: ignore[method-assign,assignment]
    with pytest.raises(Unavailable):
        await rewritten(own, at, os.urandom(30 * CHUNK))
    assert await content_of(own.remote, b"f") == old
    own.blobs.put = honest  # type: ignore[method-assign]
    new = os.urandom(30 * CHUNK)
    await rewritten(own, at, new)
    assert await content_of(own.remote, b"f") == new


async def test_few_chunks_are_on_their_way_at_once() -> None:
    """A long file does not fill the memory, in either direction."""
    own = drive()
    under_way = most = 0
    honest_put, honest_get = own.blobs.put, own.blobs.get

    async def slow_put(name: object, data: object, *, durable: bool = True) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        await honest_put(name, data, durable=durable)  # type: ignore[arg-type]
        under_way -= 1

    async def slow_get(name: object) -> bytes:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return await honest_get(name)  # type: ignore[arg-type]

    own.blobs.put, own.blobs.get = slow_put, slow_get  # type: ignore[method-assign,assignment]
    content = os.urandom(CHUNK) * 60
    at = await put(own.remote, b"f", content)
    assert 1 < most <= uploading.WINDOW * uploading.WINDOWS
    most = 0
    for offset in range(0, len(content), 4 * MIB):
        data = await own.remote.read(b"f", at.version, offset, 4 * MIB)
        assert data == content[offset : offset + 4 * MIB]
    assert 1 < most <= reading.AHEAD + 4


async def test_a_reader_who_goes_away_leaves_nothing_running() -> None:
    """Closing the drive ends what was fetched ahead."""
    own = drive()
    at = await put(own.remote, b"f", os.urandom(20 * CHUNK))
    await own.remote.read(b"f", at.version, 0, CHUNK)
    await own.core.close()
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_version_that_is_replaced_while_it_is_read() -> None:
    """The rest of the old one is not given out, nor mixed with the new one."""
    own = drive()
    at = await put(own.remote, b"f", os.urandom(20 * CHUNK))
    await own.remote.read(b"f", at.version, 0, CHUNK)
    await rewritten(own, at, os.urandom(20 * CHUNK))
    with pytest.raises(VersionChanged):
        await own.remote.read(b"f", at.version, CHUNK, CHUNK)


async def test_a_file_that_is_removed_while_it_is_read() -> None:
    """Its chunks may go with it: that is no damage, to a reader nor to fsck."""

    class Late(MemoryBlobs):
        async def get(self, name: BlobName) -> bytes:
            with contextlib.suppress(NotFound):
                await own.remote.remove(b"f")
            raise Missing("no such blob")

    own = drive()
    at = await put(own.remote, b"f", os.urandom(2 * CHUNK))
    late = drive(own.identity, own.store, Late())
    with pytest.raises(VersionChanged):
        await late.remote.read(b"f", at.version, 0, CHUNK)
    await put(own.remote, b"f", os.urandom(2 * CHUNK))
    late = drive(own.identity, own.store, Late())
    root = await home_of(late.core.walk, late.identity).fresh()
    assert [each.error async for each in check(late.core, root, content=True)] == [None]


async def test_a_name_that_was_just_looked_up_is_not_asked_for_again() -> None:
    """For content that the store gives with its version; after another client's write that is refused, too."""
    own = drive()
    await put(own.remote, b"f", b"old")
    other = drive(own.identity, own.store, own.blobs).remote
    at = await other.stat(b"f")
    asked = own.store.asked["lookup"]
    assert await other.read(b"f", at.version, 0, 10) == b"old"
    assert own.store.asked["lookup"] == asked
    await rewritten(own, await own.remote.stat(b"f"), b"new")
    with pytest.raises(VersionChanged):
        await other.read(b"f", at.version, 0, 10)
    await own.remote.remove(b"f")
    with pytest.raises(VersionChanged):
        await other.read(b"f", at.version, 0, 10)


@pytest.mark.parametrize("by", ["a durable write", "sync", "sync of all"])
async def test_nothing_durable_refers_to_what_a_power_loss_takes(by: str) -> None:
    """Also what an earlier version has sent without waiting for the disk, and the chunk list of a long file."""
    own = drive()
    last = (SPAN + 1) * CHUNK  # under the second leaf
    with file_of({index * CHUNK: b"old" for index in range(DIRECT)} | {last: b"old"}, last + CHUNK) as file:
        at = await own.remote.write(b"f", file, None, NOTHING, durable=False)
        assert own.blobs.passing
        os.pwrite(file, b"new", last)
        if by == "a durable write":
            await own.remote.write(b"f", file, at.version, NOTHING, durable=True)
        else:
            await own.remote.sync(b"f" if by == "sync" else b"")
    node = (await own.remote.places.existing(b"f")).stored.node
    chunks = await own.store.chunks(node.id, node.version)
    assert len(chunks) == DIRECT + 1 + 2
    assert not own.blobs.passing & {chunk.blob for chunk in chunks}
    assert own.store.durable


async def test_a_source_that_shrinks_while_it_is_read() -> None:
    """Its version has the size that it had at the start, filled up with zeros: the next push corrects that."""
    own = drive()
    with source(os.urandom(3 * CHUNK)) as file:

        def shrink(count: int) -> None:
            os.ftruncate(file, 10)

        at = await own.remote.write(b"f", file, None, NOTHING, step=shrink)
    assert len(await content_of(own.remote, b"f")) == at.size == 3 * CHUNK


def test_pieces_with_data() -> None:
    """A piece counts once, however many extents lie in it; holes at the beginning, between and at the end do not."""
    with file_of({3 * MIB + 5: b"a", 3 * MIB + 500_000: b"b", 7 * MIB - 1: b"cd"}, 20 * MIB) as file:
        assert list(with_data(file, 20 * MIB, MIB)) == [3, 6, 7]
        assert list(with_data(file, 3 * MIB, MIB)) == []
    with file_of({}, 0) as file:
        assert list(with_data(file, 0, MIB)) == []


def test_how_much_is_data() -> None:
    """What lies in holes does not count, nor what is outside the borders."""
    page = os.sysconf("SC_PAGESIZE")
    with file_of({3 * MIB: bytes(2 * page), 5 * MIB - page: bytes(page)}, 6 * MIB) as file:
        assert data_in(file, 0, 6 * MIB) == 3 * page
        assert data_in(file, 3 * MIB + 1, 4 * MIB) == 2 * page - 1
        assert data_in(file, 0, 3 * MIB) == data_in(file, 5 * MIB, 6 * MIB) == 0
