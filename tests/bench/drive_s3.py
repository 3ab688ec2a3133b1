"""A large file to and from a drive whose chunks are on a real S3 (SeaweedFS), against obstore alone with as many."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import obstore.store
from measure import ROOT, Bench, Sample, bench, column, median, ratio, table

sys.path.insert(0, str(ROOT))

from broker.drive.blobs.objects import WORKERS
from broker.drive.blobs.opening import open_blobs
from broker.drive.blobs.pipeline import in_order
from broker.drive.format.chunks import CHUNK, CHUNK_OVERHEAD
from broker.drive.records import BlobName
from broker.mirror.digests import CHUNK as READ
from broker.remotes.drive.opening import open_client
from broker.remotes.protocol import Changes
from broker.settings import RemoteSettings
from tests.broker.drive.seaweed import BUCKET, Seaweed

SIZES = {"mib": (1024, "MiB that are moved, in chunks of one")}
DIFFERENT = 32
"""Chunks that differ: they are put again and again, under new names."""


class Moved:
    """As many sealed chunks as the file has, and the names that they are put under."""

    def __init__(self, count: int) -> None:
        self._chunks = [os.urandom(CHUNK + CHUNK_OVERHEAD) for _ in range(DIFFERENT)]
        self.names = [BlobName(f"{number:032x}") for number in range(count)]

    def chunk(self, name: BlobName) -> bytes:
        return self._chunks[int(name, 16) % DIFFERENT]


def alone(moved: Moved) -> Sample:
    """Seconds to put and to get all by obstore, with as many requests under way as the drive has."""
    store = obstore.store.from_url(f"s3://{BUCKET}/alone", client_options={"allow_http": True})

    def seconds(move: Callable[[BlobName], object]) -> float:
        start = time.monotonic()
        with ThreadPoolExecutor(WORKERS) as pool:
            for _ in pool.map(move, moved.names):
                pass
        return time.monotonic() - start

    def put(name: BlobName) -> None:
        obstore.put(store, name, moved.chunk(name), use_multipart=False)

    def get(name: BlobName) -> None:
        obstore.get(store, name).bytes()

    return seconds(put), seconds(get)


async def by_the_store(moved: Moved) -> Sample:
    """The same by the drive's blob store."""
    blobs = open_blobs(f"s3://{BUCKET}/store")

    async def put(name: BlobName) -> None:
        await blobs.put(name, moved.chunk(name))

    async def get(name: BlobName) -> None:
        await blobs.get(name)

    times = []
    for move in (put, get):
        start = time.monotonic()
        async with aclosing(in_order(moved.names, move, ahead=WORKERS)) as results:
            async for _ in results:
                pass
        times.append(time.monotonic() - start)
    await blobs.close()
    return tuple(times)


async def by_the_drive(setting: Bench, url: str, file: Path) -> Sample:
    """Seconds of writing a new file, and of reading it to its end, by the remote that the mirror speaks to."""
    settings = RemoteSettings(url, {"blobs": f"s3://{BUCKET}/drive"})
    client = await asyncio.to_thread(open_client, settings, setting.environment)
    source = os.open(file, os.O_RDONLY)
    try:
        name, start = os.urandom(8).hex().encode(), time.monotonic()
        written = await client.remote.write(name, source, None, Changes(), durable=False)
        sent = time.monotonic()
        for offset in range(0, written.size, READ):
            await client.remote.read(name, written.version, offset, READ)
        return sent - start, time.monotonic() - sent
    finally:
        os.close(source)
        await client.close()


def main() -> None:
    with bench(__doc__, runs=3, sizes=SIZES) as setting:
        size = setting.sizes["mib"] << 20
        file, moved = setting.file("large", size), Moved(setting.sizes["mib"])
        seaweed = Seaweed(str(setting.folder("seaweed")))
        os.environ.update(seaweed.environment)
        seaweed.start()
        try:
            with setting.encrypted() as (_, url):
                samples = setting.rounds(
                    {
                        "obstore alone": lambda: alone(moved),
                        "blob store": lambda: asyncio.run(by_the_store(moved)),
                        "drive": lambda: asyncio.run(by_the_drive(setting, url, file)),
                    }
                )
        finally:
            seaweed.stop()
    rows = []
    for number, way in enumerate(("to", "from")):
        base = column(samples["obstore alone"], number)
        for name, measured in samples.items():
            taken = column(measured, number)
            goal = "at least 0.6" if name == "drive" else ""
            cells = [f"{median(taken):.2f}", f"{size / median(taken) / 1e6:.0f}", f"{ratio(base, taken):.2f}", goal]
            rows.append([f"{name}, {way} S3", *cells])
    table(f"{size >> 20} chunks of 1 MiB, to and from SeaweedFS", ["", "s", "MB/s", "of obstore", "goal"], rows)


if __name__ == "__main__":
    main()
