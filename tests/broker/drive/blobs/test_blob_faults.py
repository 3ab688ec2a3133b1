"""Blob stores that are full, refuse, or lose power."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from broker.drive.blobs.objects import ObjectBlobs
from broker.drive.blobs.opening import open_blobs
from broker.drive.errors import Missing, Unreachable
from broker.drive.records import BlobName
from tests.broker.drive.blobs.conftest import new_name
from tests.broker.drive.seaweed import Seaweed

FILL = """
import asyncio, os, sys
from broker.drive.blobs.opening import open_blobs
from broker.drive.errors import Missing, StoreFull

async def run():
    blobs = open_blobs("file://" + sys.argv[1])
    kept = {}
    for number in range(64):
        name, data = os.urandom(16).hex(), os.urandom(64 << 10)
        try:
            await blobs.put(name, data)
        except StoreFull:
            break
        kept[name] = data
    else:
        raise AssertionError("never full")
    assert kept
    for each, content in kept.items():
        assert await blobs.get(each) == content
    try:
        await blobs.get(name)
    except Missing:
        pass
    else:
        raise AssertionError("the blob that did not fit is there")
    await blobs.delete(list(kept)[:4])
    await blobs.put(name, data)
    assert await blobs.get(name) == data

asyncio.run(run())
"""


def test_a_full_disk_loses_nothing_that_was_confirmed(tmp_path: Path) -> None:
    """On a file system of 1 MiB: StoreFull, all before it is there, and there is room again after a removal."""
    mount = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    script = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1/blobs"'
    done = subprocess.run(
        [*mount, "sh", "-c", script, "sh", tmp_path, sys.executable, FILL],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_durable_blob_is_synced_with_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, its directory, and the first time the directory above; one that need not be durable not before it is
    settled, which happens once."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    name = new_name()

    async def run() -> None:
        blobs = open_blobs(f"file://{tmp_path}")
        await blobs.put(name, b"once")
        await blobs.put(name, b"once")
        await blobs.put(later, b"not durable", durable=False)
        assert len(synced) == 5
        for _ in range(2):
            await blobs.settle([name, later])
        await blobs.settle(None)

    later = BlobName(name[:2] + new_name()[2:])
    asyncio.run(run())
    folder = f"{tmp_path}/{name[:2]}"
    file = f"{folder}/{name}"
    assert synced == [file, folder, str(tmp_path), file, folder, f"{folder}/{later}", folder]


def test_a_folder_that_is_moved_away_is_not_made_anew(tmp_path: Path) -> None:
    """What went there would be missing where the drive is by then. Where it is put back, all goes on."""
    here, there = tmp_path / "blobs", tmp_path / "elsewhere"

    async def run() -> None:
        blobs = open_blobs(f"file://{here}")
        await blobs.put(new_name(), b"1")
        here.rename(there)
        with pytest.raises(Unreachable, match="moved away"):
            await blobs.put(new_name(), b"2")
        assert not here.exists()
        here.mkdir()
        with pytest.raises(Unreachable, match="moved away"):
            await blobs.put(new_name(), b"2")
        here.rmdir()
        there.rename(here)
        await blobs.put(new_name(), b"3")

    asyncio.run(run())


def test_a_store_that_comes_back_in_time_is_waited_for(seaweed: Seaweed) -> None:
    """A put and a get that begin while S3 refuses connections succeed when it is there again."""

    async def run() -> None:
        blobs = open_blobs(seaweed.url, patience=60)
        before, during = new_name(), new_name()
        await blobs.put(before, b"before")
        seaweed.stop()
        waiting = asyncio.gather(blobs.put(during, b"during"), blobs.get(before))
        await asyncio.to_thread(seaweed.start)
        assert (await waiting)[1] == b"before"
        assert await blobs.get(during) == b"during"

    asyncio.run(run())


def test_a_store_that_stays_away_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the patience that was asked for, by a message without the credentials."""
    environment = {
        **Seaweed("").environment,
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_SECRET_ACCESS_KEY": "s3cr3t",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    async def run() -> None:
        blobs = open_blobs("s3://blobs", patience=0.3)
        for refused in (
            blobs.put(new_name(), b""),
            blobs.get(new_name()),
            blobs.delete([new_name()]),
            blobs.list().__anext__(),
        ):
            with pytest.raises(Unreachable) as raised:
                await refused
            assert "s3cr3t" not in str(raised.value) and "\n" not in str(raised.value)

    asyncio.run(run())


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unreachable, match=f"{tmp_path}/file/blobs"):
        open_blobs(f"file://{tmp_path}/file/blobs")


def test_what_is_not_ours_is_neither_listed_nor_removed(tmp_path: Path) -> None:
    """Files that lie in the folder for another reason, among them an upload that was cut off, are never collected."""
    (tmp_path / "ab").mkdir()
    for other in ("notes.txt", f"ab/{'0' * 32}", f"ab/ab{'0' * 30}#1"):
        (tmp_path / other).write_bytes(b"")

    async def run(blobs: ObjectBlobs) -> None:
        name = new_name()
        await blobs.put(name, b"x")
        assert [blob.name async for page in blobs.list() for blob in page] == [name]

    asyncio.run(run(open_blobs(f"file://{tmp_path}")))


def test_what_a_crash_left_half_written_goes(tmp_path: Path) -> None:
    """With a listing, as collection makes one; not while somebody may still be writing it."""
    (tmp_path / "ab").mkdir()
    old, new = (tmp_path / "ab" / f"ab{digit * 30}#1" for digit in "01")
    for each in (old, new):
        each.write_bytes(b"half")
    os.utime(old, (0, 0))

    async def run() -> None:
        async for _ in open_blobs(f"file://{tmp_path}").list():
            pass

    asyncio.run(run())
    assert not old.exists() and new.exists()


def test_one_that_is_gone_after_the_listing_is_missing(tmp_path: Path) -> None:
    async def run() -> None:
        blobs = open_blobs(f"file://{tmp_path}")
        name = new_name()
        await blobs.put(name, b"x")
        os.unlink(tmp_path / name[:2] / name)
        with pytest.raises(Missing):
            await blobs.get(name)

    asyncio.run(run())


class _Gone(BaseHTTPRequestHandler):
    """An S3 without the bucket that it is asked for."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        document = b'<?xml version="1.0"?>\n<Error><Code>NoSuchBucket</Code></Error>'
        self.send_response(404)
        self.send_header("content-length", str(len(document)))
        self.end_headers()
        self.wfile.write(document)

    def do_PUT(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


def test_a_bucket_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is Unreachable, and not the blob Missing: to a client, the file would have been changed by somebody else."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Gone) as store:
        threading.Thread(target=store.serve_forever).start()
        environment = {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "r"}
        environment["ENDPOINT_URL"] = f"http://127.0.0.1:{store.server_port}"
        for name, value in environment.items():
            monkeypatch.setenv(f"AWS_{name}", value)

        async def run() -> None:
            blobs, name = open_blobs("s3://bucket/prefix"), new_name()
            for work in (blobs.put(name, b"x"), blobs.get(name), blobs.owner(), blobs.claim(b"x"), first(blobs)):
                with pytest.raises(Unreachable, match="no such bucket: create it, or give another"):
                    await work
            await blobs.close()

        async def first(blobs: ObjectBlobs) -> object:
            return await anext(blobs.list())

        try:
            asyncio.run(run())
        finally:
            store.shutdown()
