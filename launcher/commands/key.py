"""seccomp-drive key: show an identity, protect it, bring it back; whose key is whose; accept a restored backup."""

from __future__ import annotations

import asyncio
import os
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.commands.arguments import Parser
from launcher.commands.drives import add_policy, only, settings_of, with_client
from launcher.commands.share import named
from launcher.say import say
from launcher.usage import UsageError

if TYPE_CHECKING:
    from broker.remotes.drive.clients import Client
    from broker.remotes.drive.locations import Embedded, Served
    from broker.settings import MountSettings

_PURPOSE = """\
show                   name, fingerprint and key file; with --recovery also the recovery code
passphrase             protect the key file by another passphrase, or by none
recover USER           make the key file anew from the recovery code
pin USER@FINGERPRINT   remember whose key that is; with --replace in place of another one
accept-rollback        forget what was seen of the drive, after a backup was put back there
"""


def run(words: Sequence[str]) -> int:
    """The exit status."""
    parser = Parser("key", _PURPOSE)
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("action", choices=[*_ACTIONS])
    parser.add_argument("user", nargs="?", metavar="USER@FINGERPRINT", help="for pin; for recover only USER")
    parser.add_argument("--drive", metavar="PREFIX", help="which drive, where there are several")
    parser.add_argument("--recovery", action="store_true", help="show: also the recovery code")
    parser.add_argument("--passphrase", action="store_true", help="recover: put the key file under a passphrase")
    parser.add_argument("--replace", action="store_true", help="pin: in place of the one that is pinned")
    add_policy(parser)
    arguments = parser.parse_args(words)
    if arguments.user and arguments.action not in ("pin", "recover"):
        raise UsageError(f'key {arguments.action} takes no "{arguments.user}"')
    return _ACTIONS[arguments.action](arguments, only(settings_of(arguments), arguments.drive))


def _show(arguments: Namespace, mount: MountSettings) -> int:
    from broker.drive.format.identity import fingerprint_text
    from broker.drive.format.recovery import recovery_code
    from broker.drive.keyring import load_identity, read_key_file
    from broker.drive.passphrases import Passphrases

    where = _where(mount)
    file = read_key_file(where.key)
    print(f"key file:       {where.key}{' (under a passphrase)' if file.protection else ''}")
    print(f"server:         {file.server or 'none: it is on this machine'}")
    print(f"fingerprint:    {file.record.name}@{fingerprint_text(file.record.user_id)}")
    if arguments.recovery:
        secret = load_identity(where.key, Passphrases(file=where.passphrase_file).existing).secret
        print(f"recovery code:  {recovery_code(secret)}")
    return 0


def _passphrase(arguments: Namespace, mount: MountSettings) -> int:
    from broker.drive.keyring import change_passphrase, load_identity
    from broker.drive.passphrases import Passphrases

    where = _where(mount)
    passphrases = Passphrases(file=where.passphrase_file)
    identity = load_identity(where.key, passphrases.existing)
    new = passphrases.replacement()
    change_passphrase(where.key, identity, new)
    say(f"{where.key} is {'under the new passphrase' if new else 'not under a passphrase any more'}")
    return 0


def _recover(arguments: Namespace, mount: MountSettings) -> int:
    from broker.drive.format.recovery import parse_recovery_code
    from broker.drive.passphrases import Passphrases
    from broker.remotes.drive.recovering import recover

    if not arguments.user:
        raise UsageError("key recover: whose key? Write key recover NAME")
    where = _where(mount)
    passphrases = Passphrases() if arguments.passphrase else None
    try:
        code = os.environ.get("SECCOMP_DRIVE_RECOVERY_CODE") or input("recovery code: ")
    except EOFError:
        raise UsageError("key recover: no code: type it, or give it in SECCOMP_DRIVE_RECOVERY_CODE") from None
    identity = asyncio.run(recover(where, arguments.user, parse_recovery_code(code), passphrases))
    say(f"{where.key} is the key of {identity.name} again")
    return 0


def _pin(arguments: Namespace, mount: MountSettings) -> int:
    name, user = named(arguments.user or "")
    if user is None:
        raise UsageError("key pin: whose key? Write key pin NAME@FINGERPRINT")

    async def pin(client: Client) -> None:
        if arguments.replace:
            await client.sharing.replace_pin(name, user)
        else:
            await client.sharing.pin(name, user)

    with_client(mount, pin)
    return 0


def _accept_rollback(arguments: Namespace, mount: MountSettings) -> int:
    from broker.remotes.drive.memory import forget

    where = _where(mount)
    if where.memory is None or not forget(where.memory):
        say("nothing is remembered of that drive")
    else:
        say("forgotten: whatever the drive has now is accepted. Only sessions that begin from now on know of it")
    return 0


def _where(mount: MountSettings) -> Embedded | Served:
    from broker.remotes.drive.locations import locate

    return locate(mount.remote)


_ACTIONS = {
    "show": _show,
    "passphrase": _passphrase,
    "recover": _recover,
    "pin": _pin,
    "accept-rollback": _accept_rollback,
}
