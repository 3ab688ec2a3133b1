"""Which store a command looks after: that of an embedded drive, or a server's by its URLs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from launcher.commands.arguments import Parser
from launcher.commands.drives import add_policy, only, settings_of, with_client
from launcher.usage import UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from broker.drive.blobs.protocol import BlobStore
    from broker.drive.metadata.database import Database
    from broker.remotes.drive.clients import Client

_T = TypeVar("_T")


def add_store(parser: Parser) -> None:
    parser.add_argument("prefix", nargs="?", metavar="PREFIX", help="an embedded drive, such as drive:")
    parser.add_argument("--meta", metavar="URL", help="a server's database, as in serve")
    parser.add_argument("--blobs", metavar="URL", help="a server's blob store, as in serve")
    add_policy(parser)


def is_servers(arguments: Namespace) -> bool:
    """Whether the URLs of a server's store are given."""
    if (arguments.meta is None) != (arguments.blobs is None):
        raise UsageError("a server's store has a database and blobs: give both --meta and --blobs")
    if arguments.meta is not None and arguments.prefix is not None:
        raise UsageError(f"{arguments.prefix}, or a server's store? Give a prefix, or --meta and --blobs")
    return arguments.meta is not None


async def with_servers_store(arguments: Namespace, work: Callable[[Database, BlobStore], Awaitable[_T]]) -> _T:
    """What `work` makes of the store of a server."""
    from broker.drive.blobs.opening import open_blobs
    from broker.drive.metadata.store import open_store

    store = await open_store(arguments.meta)
    blobs = open_blobs(arguments.blobs)
    try:
        return await work(store.database, blobs)
    finally:
        await blobs.close()
        await store.close()


def with_embedded(arguments: Namespace, work: Callable[[Client, Database, BlobStore], Awaitable[_T]]) -> _T:
    """What `work` makes of an embedded drive."""

    async def run(client: Client) -> _T:
        if client.store is None:
            raise UsageError(
                f"the store of {client.identity.server} is looked after on the server, with --meta and --blobs"
            )
        return await work(client, client.store.database, client.core.transfers.blobs)

    return with_client(only(settings_of(arguments), arguments.prefix), run)
