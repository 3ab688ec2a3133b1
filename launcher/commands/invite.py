"""seccomp-drive invite: a token with which one user can register with a server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from launcher.commands.arguments import Parser


def run(words: Sequence[str]) -> int:
    """Print the invitation; the exit status."""
    parser = Parser("invite", "A token with which one user can register with a server.")
    parser.add_argument("--meta", required=True, metavar="URL", help="the server's database, as in serve")
    print(asyncio.run(_invitation(parser.parse_args(words).meta)))
    return 0


async def _invitation(url: str) -> str:
    from broker.drive.metadata.store import open_store

    store = await open_store(url)
    try:
        return await store.accounts.invite()
    finally:
        await store.close()
