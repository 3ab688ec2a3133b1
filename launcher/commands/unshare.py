"""seccomp-drive unshare: take a share back, with new keys for all that is below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.commands.arguments import Parser
from launcher.commands.drives import add_policy, located, settings_of, with_client
from launcher.commands.share import named, require_server
from launcher.say import say
from launcher.usage import UsageError

if TYPE_CHECKING:
    from broker.remotes.drive.clients import Client


def run(words: Sequence[str]) -> int:
    """Unshare, and say how much got new keys; the exit status."""
    parser = Parser("unshare", "Take a share back, with new keys for all that is below.")
    parser.add_argument("path", metavar="PATH", help="such as sommelier:/alice/report")
    parser.add_argument(
        "user", nargs="?", metavar="USER", help="who can read it; without: finish what was interrupted"
    )
    add_policy(parser)
    arguments = parser.parse_args(words)
    mount, path = located(settings_of(arguments), arguments.path)

    async def unshare(client: Client) -> int:
        require_server(client)
        place = await client.place(path)
        node = place.required()
        if arguments.user is None:
            return await client.sharing.resume()
        name, fingerprint = named(arguments.user)
        grantee = await client.sharing.grantee(node, name, fingerprint)
        return await client.sharing.unshare(place, grantee)

    try:
        count = with_client(mount, unshare)
    except KeyboardInterrupt:
        raise UsageError(
            "interrupted: unless seccomp-drive share PATH still lists the user, the server refuses him already; "
            "change the remaining keys with the same command without a user"
        ) from None
    say(f"{count} files and folders have new keys; what the user has read before, he may have kept")
    return 0
