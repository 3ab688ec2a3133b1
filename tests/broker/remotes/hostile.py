"""A remote that lies, or is slow, each time in the way that a name in it asks for; all else is the folder of its
URL."""

from __future__ import annotations

import asyncio
import itertools
import stat
from collections.abc import AsyncIterator, Sequence

from msgspec.structs import replace

from broker.remotes.around import Around
from broker.remotes.paths import Path
from broker.remotes.protocol import Attributes, Entry, Version
from broker.remotes.registry import open_remote
from broker.settings import RemoteSettings

FILE = Attributes(Version("lie"), stat.S_IFREG | 0o644, 4, 0, 0, uid=0, gid=0)
ESCAPE = b"../../../../../../../../../../../../../tmp/escaped"
LISTINGS: dict[bytes, list[Entry]] = {
    b"dot": [Entry(b".", FILE)],
    b"dotdot": [Entry(b"..", replace(FILE, mode=stat.S_IFDIR | 0o777))],
    b"slash": [Entry(ESCAPE, FILE)],
    b"absolute": [Entry(b"/tmp/escaped", FILE)],
    b"nul": [Entry(b"a\0b", FILE)],
    b"empty": [Entry(b"", FILE)],
    b"long": [Entry(b"n" * 300, FILE)],
    b"twice": [Entry(b"a", FILE), Entry(b"a", replace(FILE, version=Version("other")))],
    b"negative": [Entry(b"a", replace(FILE, size=-1))],
    b"huge": [Entry(b"a", replace(FILE, size=1 << 64))],
    b"nothing": [Entry(b"a", replace(FILE, mode=0))],
    b"target": [Entry(b"a", replace(FILE, mode=stat.S_IFLNK | 0o777, target=b"\0"))],
    b"owner": [Entry(b"a", replace(FILE, uid=-1))],
    b"time": [Entry(b"a", replace(FILE, mtime_ns=1 << 70))],
}
ENDLESS = (b"endless", b"stalling")


class Hostile(Around):
    """Folders are named after what they list; files after how they are told of and read."""

    _moments = itertools.count()

    @property
    def witness(self) -> None:
        return None

    async def stat(self, path: Path) -> Attributes:
        found = await super().stat(path)
        moment = next(self._moments)
        match path:
            case b"shrinking":
                return replace(found, size=found.size + 10)
            case b"growing":
                return replace(found, size=found.size - 10)
            case b"restless":
                return replace(found, version=Version(str(moment)))
            case b"backwards":
                return replace(found, version=Version(f"{found.version}-{moment % 2}"))
            case b"turncoat":
                kinds = (
                    replace(found, version=Version(f"file{moment}")),
                    replace(found, mode=stat.S_IFDIR | 0o755, version=Version(f"folder{moment}")),
                    replace(
                        found, mode=stat.S_IFLNK | 0o777, target=b"/etc/shadow", version=Version(f"link{moment}")
                    ),
                )
                return kinds[moment % 3]
        return found

    async def list(self, path: Path) -> AsyncIterator[Sequence[Entry]]:
        if path in LISTINGS:
            yield LISTINGS[path]
        elif path == b"endless":
            for number in itertools.count():
                yield [Entry(b"%d" % number, FILE)]
        elif path == b"stalling":
            while True:
                yield []
        else:
            async for page in super().list(path):
                yield page

    async def read(self, path: Path, version: Version, offset: int, length: int) -> bytes:
        current = (await super().stat(path)).version
        if path == b"slow":
            await asyncio.sleep(0.05)
            length = min(length, 64)
        data = await super().read(path, current, offset, length)
        return data * 3 if path == b"generous" else data


def open_hostile(settings: RemoteSettings) -> Hostile:
    """``hostile+URL``."""
    return Hostile(open_remote(replace(settings, url=settings.url.removeprefix("hostile+"))))
