"""seccomp-drive gc: delete what no file refers to any more."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.commands.arguments import Parser
from launcher.commands.stores import add_store, is_servers, with_embedded, with_servers_store
from launcher.usage import UsageError

if TYPE_CHECKING:
    from broker.drive.blobs.protocol import BlobStore
    from broker.drive.metadata.collection import Collected
    from broker.drive.metadata.database import Database
    from broker.remotes.drive.clients import Client

_LONGEST = 100 * 366 * 86400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def run(words: Sequence[str]) -> int:
    """Collect, and say what went; the exit status."""
    parser = Parser("gc", "Delete chunks that no file has referred to for some time.")
    parser.add_argument(
        "--grace", default="30d", metavar="TIME", help="longer than your backups are old, as 12h or 30d (default)"
    )
    add_store(parser)
    arguments = parser.parse_args(words)
    grace = _seconds(arguments.grace)

    from broker.drive.errors import StoreFull
    from broker.drive.metadata.collection import collect

    async def collected(database: Database, blobs: BlobStore) -> Collected:
        return await collect(database, blobs, grace)

    async def embedded(client: Client, database: Database, blobs: BlobStore) -> Collected:
        try:
            return await collect(database, blobs, grace)
        except StoreFull:
            if not client.core.spend():
                raise
            return await collect(database, blobs, grace)

    if is_servers(arguments):
        done = asyncio.run(with_servers_store(arguments, collected))
    else:
        done = with_embedded(arguments, embedded)
    print(f"{done.blobs} chunks of {done.bytes} bytes deleted; {done.found} on no record go after {arguments.grace}")
    return 0


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([0-9]+)([smhd])", text)
    if match is None or len(match[1]) > 10 or int(match[1]) * _UNITS[match[2]] > _LONGEST:
        raise UsageError(f'gc: "{text}" is no time, or too long: write --grace 30d, or a number with s, m or h')
    return int(match[1]) * _UNITS[match[2]]
