"""seccomp-drive register: become a user of a server; writes the key file and a ready policy."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from launcher.commands.arguments import Parser
from launcher.say import say
from launcher.usage import UsageError

_POLICY = """\
# Written by seccomp-drive register. What else can stand here: docs/policy.md
[[mount]]
prefix = "{prefix}"
remote = "{remote}"

[remote.{remote}]
url = "drive+{origin}/"
key = "{key}"

# The drive of this machine, which exec has at drive: where no policy says what there is:
# [[mount]]
# prefix = "own:"
# remote = "drive:"
"""


def run(words: Sequence[str]) -> int:
    """Register, and say what to do next; the exit status."""
    arguments = _parser().parse_args(words)
    name = arguments.home.strip("/")
    if not name or "/" in name:
        raise UsageError(f'register: "{arguments.home}" is no home: write --home /NAME')
    url = urlsplit(arguments.url)
    if url.scheme not in ("http", "https"):
        raise UsageError(f'register: "{arguments.url}" is no URL of a server: write https://… or http://…')
    if url.path.strip("/"):
        raise UsageError(f"register: write {url.scheme}://{url.netloc} alone; your folder is what --home says")

    from broker.drive.format.identity import fingerprint_text
    from broker.drive.format.recovery import recovery_code
    from broker.drive.passphrases import Passphrases
    from broker.remotes.drive.locations import Served, locate
    from broker.remotes.drive.served import join
    from broker.settings import RemoteSettings

    options = {"key": arguments.key, "ca": arguments.ca, "insecure": arguments.insecure or None}
    settings = RemoteSettings(
        f"drive+{arguments.url}", {name: value for name, value in options.items() if value is not None}
    )
    where = locate(settings)
    assert isinstance(where, Served)
    passphrases = Passphrases() if arguments.passphrase else None
    identity = asyncio.run(join(where, name, arguments.invitation, passphrases))
    print(f"key file:       {where.key}")
    print(f"fingerprint:    {identity.name}@{fingerprint_text(identity.user_id)}")
    print(f"recovery code:  {recovery_code(identity.secret)}")
    say("write the recovery code down: without it and without the key file, nobody can read your files any more")
    _write_policy(arguments.policy, arguments.prefix, name, identity.server, where.key)
    return 0


def _parser() -> Parser:
    parser = Parser("register", "Become a user of a server; writes the key file and a ready policy.")
    add = parser.add_argument
    add("url", metavar="URL", help="the server, such as https://drive.example")
    add("--home", required=True, metavar="/NAME", help="your name there, which is that of your folder")
    add("--key", metavar="FILE", help="where the key file is to be; otherwise in the data directory")
    add("--passphrase", action="store_true", help="protect the key file by a passphrase")
    add("--invitation", metavar="TOKEN", help="as the server's administrator gave it")
    add("--prefix", default="drive:", help="under which programs see the drive, such as sommelier: or /drive")
    add("--policy", metavar="FILE", help="where the policy is to be; otherwise that which exec reads")
    add("--ca", metavar="FILE", help="certificates, PEM, of those who certify the server")
    add("--insecure", action="store_true", help="allow a server elsewhere without TLS")
    return parser


def _write_policy(path: str | None, prefix: str, name: str, origin: str, key: str) -> None:
    """A new file; what to add where there is one."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    option = f"-p {path} " if path else ""
    path = path or f"{base}/seccomp-drive/policy.toml"
    text = _POLICY.format(prefix=prefix, remote=name, origin=origin, key=key)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        say(f"there is a policy in {path} already: add this to it, or give another place with --policy")
        print(text, end="")
        return
    print(f"policy:         {path}")
    colon = prefix if prefix.endswith(":") else f"{prefix}/"
    say(f"now try: seccomp-drive exec {option}ls -l {colon}{'/' if prefix.endswith(':') else ''}{name}")
