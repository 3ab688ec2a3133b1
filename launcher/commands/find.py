"""seccomp-drive find: all names below a folder, asked for at once, and without telling the server one."""

from __future__ import annotations

import fnmatch
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.commands.arguments import Parser
from launcher.commands.drives import add_policy, located, settings_of, shown, with_client
from launcher.say import say
from launcher.usage import UsageError

if TYPE_CHECKING:
    from broker.remotes.drive.clients import Client


def run(words: Sequence[str]) -> int:
    """Print a path a line; the exit status, 1 when a name cannot be opened."""
    parser = Parser("find", "All names below a folder, asked for at once.")
    parser.add_argument("path", metavar="PATH", help="such as drive:/ or sommelier:/alice")
    parser.add_argument("--name", metavar="PATTERN", help="only names like this, as the shell matches them")
    parser.add_argument("-0", "--null", action="store_true", help="end each path with NUL, for xargs -0")
    add_policy(parser)
    arguments = parser.parse_args(words)
    mount, path = located(settings_of(arguments), arguments.path)
    pattern = os.fsencode(arguments.name) if arguments.name else None

    from broker.remotes.drive.scanning import scan

    async def find(client: Client) -> tuple[list[bytes], list[str]]:
        top = (await client.place(path)).required()
        if not top.is_folder:
            raise UsageError(f"{shown(mount, path)} is no folder: name the one that it is in, with --name")
        paths, wrong = [], []
        async for found in scan(client.core, top):
            below = path + b"/" + found.path if path else found.path
            if found.error is not None:
                wrong.append(f"{shown(mount, below)}: {found.error}")
            elif pattern is None or fnmatch.fnmatchcase(below.rpartition(b"/")[2], pattern):
                paths.append(below)
        return paths, wrong

    paths, wrong = with_client(mount, find)
    end = b"\0" if arguments.null else b"\n"
    sys.stdout.buffer.write(b"".join(mount.prefix + b"/" + below + end for below in sorted(paths)))
    sys.stdout.flush()
    for message in wrong:
        say(message)
    return 1 if wrong else 0
