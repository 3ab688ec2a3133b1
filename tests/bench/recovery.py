"""How soon recovery begins: `python tests/bench/recovery.py [COUNT]` files that a killed session has left dirty.

Prints the seconds until the session serves, until the first file is pushed, and until all are.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from broker.session import mirrors_of
from broker.settings import MountSettings, RemoteSettings, Settings

CONTENT, ADDED = b"file", b"changed"
LOOK = 0.005
"""Seconds between two looks at the remote."""


async def leave_dirty(settings: Settings, names: list[bytes]) -> None:
    """Write to all files without pushing: the record says that they are dirty, and then the session ends."""
    async with mirrors_of(settings, print) as mirrors:
        mirror = mirrors[0]
        await mirror.look(b"")
        await mirror.listing(b"")
        for name in names:
            file = await mirror.open(name, os.O_RDONLY, lambda real, flags: os.open(real, flags | os.O_CLOEXEC))
            ino = os.fstat(file).st_ino
            os.close(file)
            await mirror.store.ledger.mark_dirty(ino)
            with open(mirror.tree.real(name), "ab") as content:
                content.write(ADDED)


def first_push(share: Path) -> float:
    """Wait for a file that is longer than all were; when that was."""
    while not any(entry.stat().st_size > len(CONTENT) for entry in os.scandir(share)):
        time.sleep(LOOK)
    return time.perf_counter()


async def recover(settings: Settings, share: Path) -> tuple[float, float, float]:
    """Seconds until a session is ready, the first push and the last."""
    began = time.perf_counter()
    async with mirrors_of(settings, print) as mirrors:
        ready = time.perf_counter() - began
        running = asyncio.ensure_future(mirrors[0].recovery.recover())
        first = await asyncio.to_thread(first_push, share) - began
        assert await running == []
        return ready, first, time.perf_counter() - began


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as base:
        share = Path(base, "share")
        share.mkdir()
        names = [b"%d" % number for number in range(count)]
        for name in names:
            (share / name.decode()).write_bytes(CONTENT)
        mount = MountSettings(b"/drive", RemoteSettings(share.as_uri()))
        settings = Settings((mount,), os.path.join(base, "cache"), 1 << 40, 0)
        asyncio.run(leave_dirty(settings, names))
        ready, first, done = asyncio.run(recover(settings, share))
        assert all((share / name.decode()).read_bytes() == CONTENT + ADDED for name in names)
        print(f"{count} dirty files: serving after {ready:.2f} s, first push {first:.2f} s, all {done:.1f} s")


if __name__ == "__main__":
    main()
