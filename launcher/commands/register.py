"""seccomp-drive register: become a user of a server; writes the key file and a ready policy."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from broker.settings import REMOTE_OPTIONS, RemoteSettings
from launcher.commands.arguments import Parser
from launcher.document import Value
from launcher.policy import prefix_of
from launcher.say import say
from launcher.usage import UsageError

_POLICY = """\
# Written by seccomp-drive register. What else can stand here: docs/policy.md
[[mount]]
prefix = {prefix}
remote = {remote}

[remote.{table}]
{options}

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
    if (arguments.ca is not None and url.scheme == "http") or (arguments.insecure and url.scheme == "https"):
        raise UsageError(
            "register: --ca is for https://…, whose certificate it vouches for, and --insecure for http://…"
        )

    prefix_of(Value("register --prefix", arguments.prefix), arguments.prefix)
    policy = _policy_path(arguments.policy)

    from broker.drive.format.identity import fingerprint_text
    from broker.drive.format.recovery import recovery_code
    from broker.drive.passphrases import Passphrases
    from broker.remotes.drive.locations import Served, locate
    from broker.remotes.drive.served import join

    files = {"key": arguments.key, "ca": arguments.ca}
    options = {name: os.path.abspath(os.path.expanduser(path)) for name, path in files.items() if path is not None}
    insecure = {"insecure": True} if arguments.insecure else {}
    settings = RemoteSettings(f"drive+{arguments.url}", options | insecure)
    where = locate(settings)
    assert isinstance(where, Served)
    passphrases = Passphrases() if arguments.passphrase else None
    identity = asyncio.run(join(where, name, arguments.invitation, passphrases))
    print(f"key file:       {where.key}")
    print(f"fingerprint:    {identity.name}@{fingerprint_text(identity.user_id)}")
    print(f"recovery code:  {recovery_code(identity.secret)}")
    say("write the recovery code down: without it and without the key file, nobody can read your files any more")
    remote = {"url": f"drive+{identity.server}/", "key": where.key, **_kept(settings, identity.server)}
    text = _policy(arguments.prefix, name, remote)
    if _write_policy(policy, text):
        option = f"-p {policy} " if arguments.policy else ""
        say(f"now try: seccomp-drive exec {option}ls -l {arguments.prefix}/{name}")
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


def _policy_path(named: str | None) -> str:
    """Where the policy is to be, in a folder that is there from now on. UsageError, before anybody is registered."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    path = named or f"{base}/seccomp-drive/policy.toml"
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"register: no policy can be written to {path}: {error.strerror}; give another place with --policy"
        ) from error
    return path


def _kept(settings: RemoteSettings, origin: str) -> Mapping[str, object]:
    """The options with which the server was reached, as far as they are for where it says that it is."""
    known = REMOTE_OPTIONS[f"drive+{urlsplit(origin).scheme}"]
    return {option: value for option, value in settings.options.items() if option in known}


def _policy(prefix: str, name: str, remote: Mapping[str, object]) -> str:
    table = name if re.fullmatch("[A-Za-z0-9_-]+", name) else _quoted(name)
    options = "\n".join(f"{option} = {_quoted(value)}" for option, value in remote.items())
    return _POLICY.format(prefix=_quoted(prefix), remote=_quoted(name), table=table, options=options)


def _quoted(value: object) -> str:
    """A string or a truth value of TOML: those of JSON, but for a character that it does not take as it is."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write_policy(path: str, text: str) -> bool:
    """A new file. What to write where none can be made, and False."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        there = isinstance(error, FileExistsError)
        why = f"there is a policy in {path} already" if there else f"{path} cannot be written: {error.strerror}"
        say(f"{why}: add this to {'it' if there else 'a policy'}, or give another place with --policy")
        print(text, end="")
        return False
    print(f"policy:         {path}")
    return True
