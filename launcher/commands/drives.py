"""What the drive's commands share: paths as programs write them, and the drives that they are on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from broker.settings import MountSettings, Settings
from launcher.commands.arguments import Parser
from launcher.policy import load
from launcher.usage import UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from broker.remotes.drive.clients import Client

_T = TypeVar("_T")


def add_policy(parser: Parser) -> None:
    """The options that say what is mounted where, as for exec."""
    parser.add_argument("-p", "--policy", metavar="POLICY", help="the policy file, as for exec")
    parser.add_argument(
        "-m", "--mount", action="append", default=[], metavar="PREFIX=REMOTE", help="one mount more, as for exec"
    )


def settings_of(arguments: Namespace) -> Settings:
    return load(arguments.policy, arguments.mount, os.environ)


def located(settings: Settings, text: str) -> tuple[MountSettings, bytes]:
    """The mount that a path such as ``drive:/a/b`` or ``/drive/a/b`` is in, and the path there."""
    path = os.fsencode(text)
    for mount in settings.mounts:
        found = _below(mount.prefix, path)
        if found is not None:
            return _a_drive(mount), found
    known = ", ".join(os.fsdecode(mount.prefix) for mount in settings.mounts)
    raise UsageError(f'"{text}" is on no drive: there is {known}')


def only(settings: Settings, prefix: str | None) -> MountSettings:
    """The encrypted drive at `prefix`, or the only one that there is."""
    if prefix is not None:
        return located(settings, prefix)[0]
    drives = [mount for mount in settings.mounts if _is_drive(mount)]
    if len(drives) == 1:
        return drives[0]
    known = ", ".join(os.fsdecode(mount.prefix) for mount in drives)
    if not known:
        raise UsageError("no mount is an encrypted drive: name one as -m PREFIX=drive:///FOLDER, or a policy by -p")
    raise UsageError(f"which drive is meant? Name its prefix: there is {known}")


def with_client(mount: MountSettings, work: Callable[[Client], Awaitable[_T]]) -> _T:
    """What `work` makes of the open drive."""
    from broker.remotes.drive.opening import open_client
    from broker.remotes.protocol import RemoteError

    client = open_client(mount.remote)

    async def run() -> _T:
        try:
            return await work(client)
        except RemoteError as error:
            raise UsageError(f"{shown(mount, error.path)}: {error.detail or error.words}") from error
        finally:
            await client.close()

    return asyncio.run(run())


def shown(mount: MountSettings, path: bytes) -> str:
    """A path of the mount as programs write it."""
    whole = mount.prefix + b"/" + path if path or mount.prefix.endswith(b":") else mount.prefix
    return whole.decode(errors="backslashreplace")


def _below(prefix: bytes, path: bytes) -> bytes | None:
    """The path below a prefix; None when it is not. ``drive:a``, ``drive:/a`` and ``drive://a/.`` are the same."""
    if prefix.endswith(b":"):
        inside, rest = path.startswith(prefix), path[len(prefix) :]
    else:
        path = os.path.normpath(os.path.abspath(path))
        inside, rest = path == prefix or path.startswith(prefix + b"/"), path[len(prefix) :]
    if not inside:
        return None
    names = [name for name in rest.split(b"/") if name not in (b"", b".")]
    if b".." in names:
        raise UsageError(f'"{os.fsdecode(path)}": write the path without ".."')
    return b"/".join(names)


def _a_drive(mount: MountSettings) -> MountSettings:
    if not _is_drive(mount):
        raise UsageError(f"{os.fsdecode(mount.prefix)} is no encrypted drive: it is {mount.remote.url}")
    return mount


def _is_drive(mount: MountSettings) -> bool:
    return mount.remote.url.partition(":")[0] != "file"
