"""What encryption costs the drive: chunks against the bare ciphers on the same buffers, and entries with nodes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from measure import ROOT, Sample, bench, median, ratio, table

sys.path.insert(0, str(ROOT))

from broker.drive.format.bodies import Body
from broker.drive.format.chunks import CHUNK, chunk_id, open_chunk, seal_chunk
from broker.drive.format.entries import open_entry, seal_entry
from broker.drive.format.keys import new_node_keys
from broker.drive.format.manifest import Content, Ref, Refs
from broker.drive.format.nodes import open_node, seal_node
from broker.drive.records import Entry, Kind, Node, NodeId

CHUNKS = 64
ENTRIES = 2000
PARENT = NodeId(bytes(16))


def seconds(pieces: int, work: Callable[[int], object], threads: int = 1) -> Sample:
    """The wall time of `work` on every piece."""
    start = time.monotonic()
    if threads == 1:
        for piece in range(pieces):
            work(piece)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(pieces)))
    return (time.monotonic() - start,)


def processor_seconds(pieces: int, work: Callable[[int], object]) -> Sample:
    """What `work` on every piece takes of the processor: it waits for nothing, and others may be busy."""
    start = time.process_time()
    for piece in range(pieces):
        work(piece)
    return (time.process_time() - start,)


class Chunks:
    """The same buffers, sealed and opened by the drive, and by the bare ciphers into a buffer that is reused."""

    def __init__(self) -> None:
        self._key, self._node, self._nonce = os.urandom(32), NodeId(os.urandom(16)), bytes(12)
        self._cipher = AESGCM(self._key)
        self._plain = [os.urandom(CHUNK) for _ in range(CHUNKS)]
        self._ids = [chunk_id(self._key, index, data) for index, data in enumerate(self._plain)]
        self._sealed = [
            bytes(seal_chunk(self._key, self._node, id, data))
            for id, data in zip(self._ids, self._plain, strict=True)
        ]
        self._bare = [self._cipher.encrypt(self._nonce, data, b"") for data in self._plain]
        self._buffers = [bytearray(CHUNK + 16) for _ in range(4)]

    def seal(self, index: int) -> None:
        data = self._plain[index]
        seal_chunk(self._key, self._node, chunk_id(self._key, index, data), data)

    def open(self, index: int) -> None:
        open_chunk(self._key, self._node, index, self._ids[index], self._sealed[index], CHUNK)

    def seal_bare(self, index: int) -> None:
        blake3(self._plain[index], key=self._key).digest()
        self._cipher.encrypt_into(self._nonce, self._plain[index], b"", self._buffers[index % 4])

    def open_bare(self, index: int) -> None:
        plain = memoryview(self._buffers[index % 4])[:CHUNK]
        self._cipher.decrypt_into(self._nonce, self._bare[index], b"", plain)
        blake3(plain, key=self._key).digest()


class Listing:
    """A folder of small files."""

    def __init__(self) -> None:
        self._keys = new_node_keys()
        self._made = [self._make(number) for number in range(ENTRIES)]

    def _make(self, number: int) -> tuple[Entry, Node]:
        keys, node = new_node_keys(), NodeId(os.urandom(16))
        content = Content({1: os.urandom(32)}, Refs.of({0: Ref(os.urandom(32), 1)}))
        body = Body(0o100644, 10**18, 10**18, 4000, uid=1000, gid=1000, content=content)
        return (
            seal_entry(PARENT, self._keys, 1, 1, b"file-%06d.txt" % number, node, keys),
            seal_node(node, Kind.OTHER, 1, 1, keys, body, inline=True),
        )

    def make(self, number: int) -> None:
        self._make(number)

    def list(self, number: int) -> None:
        entry, node = self._made[number]
        open_node(node, open_entry(entry, self._keys, verify=False).keys, verify=False)

    def look_up(self, number: int) -> None:
        entry, node = self._made[number]
        open_node(node, open_entry(entry, self._keys, verify=True).keys, verify=True)


def main() -> None:
    with bench(__doc__, runs=15) as setting:
        chunks, listing = Chunks(), Listing()
        rows = []
        for threads in (1, 2):
            samples = setting.rounds(
                {
                    name: lambda work=work, threads=threads: seconds(CHUNKS, work, threads)
                    for name, work in {
                        "seal": chunks.seal,
                        "bare seal": chunks.seal_bare,
                        "open": chunks.open,
                        "bare open": chunks.open_bare,
                    }.items()
                }
            )
            for name in ("seal", "open"):
                ours, bare = samples[name], samples[f"bare {name}"]
                rates = [f"{CHUNKS * CHUNK / median(taken) / 1e6:.0f}" for taken in (ours, bare)]
                rows.append([f"{name}, {threads} thread{'s'[: threads - 1]}", *rates, f"{ratio(bare, ours):.2f}"])
        table("Chunks of 1 MiB, MB/s", ["", "drive", "AESGCM + BLAKE3", "ratio (0.7 wanted)"], rows)

        kinds = {
            "list (25 wanted)": (listing.list, ENTRIES),
            "look up, with signatures": (listing.look_up, ENTRIES // 10),
            "create": (listing.make, ENTRIES // 10),
        }
        samples = setting.rounds(
            {
                name: lambda work=work, pieces=pieces: processor_seconds(pieces, work)
                for name, (work, pieces) in kinds.items()
            }
        )
        rows = [[name, f"{median(samples[name]) / pieces * 1e6:.0f}"] for name, (_, pieces) in kinds.items()]
        table("One entry and its node, µs of one processor", ["", "µs"], rows)


if __name__ == "__main__":
    main()
