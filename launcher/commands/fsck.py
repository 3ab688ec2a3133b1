"""seccomp-drive fsck: check a drive, and put right what follows from the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from launcher.commands.arguments import Parser
from launcher.commands.drives import only, settings_of, shown, with_client
from launcher.commands.stores import add_store, is_servers, with_servers_store
from launcher.usage import UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from broker.drive.blobs.protocol import BlobStore
    from broker.drive.metadata.checks import Finding
    from broker.drive.metadata.database import Database
    from broker.remotes.drive.clients import Client

DAMAGED = 1
"""Exit status: something is wrong, and stays so."""


def run(words: Sequence[str]) -> int:
    """Check, and print what is wrong; the exit status."""
    parser = Parser("fsck", "Check a drive, and put right what follows from the rest.")
    parser.add_argument("--repair", action="store_true", help="put right what can be; no content is ever changed")
    parser.add_argument("--data", action="store_true", help="also read every byte of every file")
    add_store(parser)
    arguments = parser.parse_args(words)
    if is_servers(arguments):
        if arguments.data:
            raise UsageError(
                "fsck: --data opens files, for which a server has no keys: its users can, without --meta"
            )
        wrong = asyncio.run(
            with_servers_store(arguments, lambda database, blobs: _store(arguments, database, blobs, {}))
        )
    else:
        mount = only(settings_of(arguments), arguments.prefix)

        async def check(client: Client) -> int:
            paths: dict[bytes, str] = {}
            wrong = await _tree(arguments, client, paths, lambda path: shown(mount, path))
            if client.store is not None:
                wrong += await _store(arguments, client.store.database, client.core.transfers.blobs, paths)
            return wrong

        wrong = with_client(mount, check)
    print("nothing is wrong" if not wrong else f"{wrong} things are wrong")
    return DAMAGED if wrong else 0


async def _tree(
    arguments: Namespace, client: Client, paths: dict[bytes, str], path_of: Callable[[bytes], str]
) -> int:
    """What the keys open: names, attributes and chunk lists. How much is wrong; `paths` learns where nodes are."""
    from broker.remotes.drive.checking import check

    wrong = 0
    async for checked in check(client.core, await client.root.fresh(), content=arguments.data):
        inside = client.inside(checked.path)
        paths[checked.node] = path_of(inside)
        if checked.error is not None:
            wrong += 1
            print(f"{path_of(inside)}: {checked.error}")
    return wrong


async def _store(arguments: Namespace, database: Database, blobs: BlobStore, paths: Mapping[bytes, str]) -> int:
    """What tables and blobs say of each other. How much is wrong, and stays so."""
    from broker.drive.metadata.checks import check, repair

    before = await check(database, blobs, lost=arguments.repair)
    after = await repair(database, blobs) if arguments.repair and before else before
    for finding in before:
        state = "repaired" if finding not in after else "--repair puts it right" if finding.repairable else "damaged"
        print(f"{_where(finding, paths)}: {finding.what} ({state})")
    return len(after)


def _where(finding: Finding, paths: Mapping[bytes, str]) -> str:
    if finding.node is None:
        return f"blob {finding.blob}"
    return paths.get(finding.node, f"node {finding.node.hex()}")
