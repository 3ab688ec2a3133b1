"""seccomp-drive share: let another user read, or write, a file or folder and all below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.commands.arguments import Parser
from launcher.commands.drives import add_policy, located, settings_of, with_client
from launcher.usage import UsageError

if TYPE_CHECKING:
    from broker.drive.records import UserId
    from broker.remotes.drive.clients import Client


def run(words: Sequence[str]) -> int:
    """Share, or say with whom it is shared; the exit status."""
    parser = Parser("share", "Let another user read, or write, a file or folder and all below it.")
    parser.add_argument("path", metavar="PATH", help="such as sommelier:/alice/report")
    parser.add_argument(
        "user", nargs="?", metavar="USER@FINGERPRINT", help="as USER sees it in key show; without: list"
    )
    parser.add_argument("--write", action="store_true", help="also let the user change it")
    add_policy(parser)
    arguments = parser.parse_args(words)
    mount, path = located(settings_of(arguments), arguments.path)

    from broker.drive.format.identity import fingerprint_text
    from broker.drive.records import Right

    async def share(client: Client) -> None:
        require_server(client)
        if arguments.user is None:
            shared = await client.sharing.shared((await client.place(path)).required())
            if not shared:
                print("shared with nobody")
            for record, right in shared:
                right_name = "write" if right is Right.WRITE else "read"
                print(f"{record.name}@{fingerprint_text(record.user_id)}  {right_name}")
            return
        record = await client.sharing.record_of(*named(arguments.user))
        right = Right.WRITE if arguments.write else Right.READ
        await client.sharing.share(lambda: client.place(path), record, right)

    with_client(mount, share)
    return 0


def require_server(client: Client) -> None:
    if client.view is None:
        raise UsageError("a drive of this machine has one user: to share, register with a server (docs/drive.md)")


def named(text: str) -> tuple[str, UserId | None]:
    """Name and fingerprint of ``bob@FINGERPRINT``, as key show prints it; a pinned contact needs none."""
    from broker.drive.format.identity import parse_fingerprint

    name, at, fingerprint = text.partition("@")
    fingerprint = fingerprint.removeprefix(f"{name}@")
    return name, parse_fingerprint(fingerprint) if at else None
