"""One suite for every blob store: a folder, memory, and S3 as SeaweedFS speaks it."""

from __future__ import annotations

import asyncio
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from broker.drive.blobs.objects import LinkingObjectBlobs, ObjectBlobs
from broker.drive.blobs.opening import open_blobs
from broker.drive.blobs.protocol import BLOB_MAX, StoredBlob
from broker.drive.errors import Damaged, Malformed, Missing, Unreachable
from broker.drive.records import BlobName
from tests.broker.drive.blobs.conftest import new_name
from tests.broker.drive.seaweed import Seaweed


async def all_of(blobs: ObjectBlobs) -> list[StoredBlob]:
    return [blob async for page in blobs.list() for blob in page]


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("size", [0, 1, 1 << 20, BLOB_MAX])
def test_what_was_put_is_got(blobs: ObjectBlobs, size: int, durable: bool) -> None:
    """Bytes come back as they were, from bytes and from a view of a buffer alike."""

    async def run() -> None:
        data = os.urandom(size)
        name, viewed = new_name(), new_name()
        await blobs.put(name, data, durable=durable)
        await blobs.put(viewed, memoryview(bytearray(data)), durable=durable)
        assert await blobs.get(name) == await blobs.get(viewed) == data

    asyncio.run(run())


def test_a_blob_put_again_by_a_retry_is_no_error(blobs: ObjectBlobs) -> None:
    async def run() -> None:
        name = new_name()
        await blobs.put(name, b"the same")
        await blobs.put(name, b"the same")
        assert await blobs.get(name) == b"the same"
        assert len(await all_of(blobs)) == 1

    asyncio.run(run())


def test_what_is_not_there_is_missing(blobs: ObjectBlobs) -> None:
    """A get says so; a delete of many leaves the rest of them deleted."""

    async def run() -> None:
        with pytest.raises(Missing):
            await blobs.get(new_name())
        names = [new_name() for _ in range(5)]
        for name in names:
            await blobs.put(name, b"x")
        await blobs.delete([new_name(), *names[:2], new_name(), *names[2:]])
        await blobs.delete([])
        assert await all_of(blobs) == []

    asyncio.run(run())


def test_the_listing_has_every_blob_with_its_size_and_age(blobs: ObjectBlobs) -> None:
    """More blobs than one page of S3 has, each once; the age is by a clock near ours."""

    async def run() -> None:
        wanted = {new_name(): number % 7 for number in range(1030)}
        await asyncio.gather(*(blobs.put(name, bytes(size), durable=False) for name, size in wanted.items()))
        found = await all_of(blobs)
        assert {blob.name: blob.size for blob in found} == wanted and len(found) == len(wanted)
        assert all(abs(blob.modified - time.time()) < 300 for blob in found)

    asyncio.run(run())


@pytest.mark.parametrize("name", ["", "..", "../../../../etc/passwd", "A" * 32, "0" * 31, "0" * 33, "0" * 32 + "\n"])
def test_a_name_that_is_none_never_becomes_a_path(blobs: ObjectBlobs, name: str) -> None:
    async def run() -> None:
        for refused in (blobs.get(BlobName(name)), blobs.put(BlobName(name), b""), blobs.delete([BlobName(name)])):
            with pytest.raises(Malformed):
                await refused

    asyncio.run(run())


def test_a_blob_that_is_too_long_is_not_sent(blobs: ObjectBlobs) -> None:
    async def run() -> None:
        with pytest.raises(Malformed):
            await blobs.put(new_name(), bytes(BLOB_MAX + 1))
        assert await all_of(blobs) == []

    asyncio.run(run())


def test_whose_blobs_they_are_is_no_blob(blobs: ObjectBlobs) -> None:
    """Nobody's until they are claimed; the mark is not listed."""

    async def run() -> None:
        assert await blobs.owner() is None
        await blobs.claim(b"somebody")
        assert await blobs.owner() == b"somebody"
        assert await all_of(blobs) == []

    asyncio.run(run())


def test_a_damaged_mark_is_told(tmp_path: Path) -> None:
    (tmp_path / "owner").write_bytes(b"\xff no digits")
    with pytest.raises(Damaged, match="owner"):
        asyncio.run(open_blobs(f"file://{tmp_path}").owner())


def test_a_link_fetches_one_blob_and_nothing_else(seaweed: Seaweed) -> None:
    """Who has the link needs no credentials; another name or another method under it is refused."""

    name, other = new_name(), new_name()

    async def linked() -> str:
        blobs = open_blobs(seaweed.url)
        assert isinstance(blobs, LinkingObjectBlobs)
        await blobs.put(name, b"content")
        await blobs.put(other, b"secret")
        assert await blobs.links([], 300) == []
        (link,) = await blobs.links([name], 300)
        return link

    link = asyncio.run(linked())
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == b"content"
    changed = link.replace(f"/{name[:2]}/{name}", f"/{other[:2]}/{other}")
    for refused in (changed, urllib.request.Request(link, method="DELETE")):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(refused)


def test_wrong_credentials_are_told_from_a_blob_that_is_missing(
    seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(Unreachable, match="credentials"):
        asyncio.run(open_blobs(seaweed.url).get(new_name()))


@pytest.mark.parametrize(
    "url", ["", "blobs", "ftp://host/blobs", "s3://", "file://blobs", "file:blobs", "file:///blobs?x", "az://x"]
)
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    """With a message that begins with the URL."""
    with pytest.raises(Malformed, match="^" + url.replace("?", r"\?")):
        open_blobs(url)
