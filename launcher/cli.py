"""The command line: seccomp-drive exec, check, status and sync; the drive's own commands are modules beside it."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from launcher.say import FAILED, say
from launcher.usage import UsageError

if TYPE_CHECKING:
    from broker.settings import Settings
    from launcher.serving import Serve
    from launcher.words import Arguments

HELP = """\
Run any program with remote drives under path prefixes, for that program and its children only.

seccomp-drive exec [-p POLICY] [-m PREFIX=REMOTE[,ro]]... [--keep-running] [--] CMD [ARG...]
seccomp-drive check [-p POLICY]      what this machine allows, with the remedy for what is missing
seccomp-drive status [-p POLICY]     mirrors: size; the files that are not pushed yet; conflict copies
seccomp-drive sync [-p POLICY]       push what a crash left behind
seccomp-drive serve --meta URL --blobs URL [--listen HOST:PORT]...   an encrypted drive for a team
seccomp-drive invite --meta URL      an invitation to register there
seccomp-drive register URL --home /NAME          become a user of it: writes a key file and a ready policy
seccomp-drive share PATH USER@FINGERPRINT [--write] | unshare PATH USER      let others read or write
seccomp-drive find PATH              all names below a folder of an encrypted drive, at once
seccomp-drive fsck | gc [PREFIX]     check a drive; delete what no file refers to any more
seccomp-drive key show | passphrase | recover | pin | accept-rollback        identities: --help says more

  -p, --policy POLICY               the policy file; otherwise $SECCOMP_DRIVE_POLICY, then
                                    $XDG_CONFIG_HOME/seccomp-drive/policy.toml,
                                    then /etc/seccomp-drive/policy.toml
  -m, --mount PREFIX=REMOTE[,ro]    one mount more, read-only with ",ro"; may be repeated.
                                    PREFIX is a folder (/drive) or a scheme (drive:),
                                    REMOTE a URL (file:///srv/share) or a name of the policy
      --keep-running                exec: if seccomp-drive's broker dies, do not end the program with it;
                                    its calls on paths then fail with ENOSYS
  -h, --help                        this text
  --version                         the version

The exit status is that of CMD; 128+N when signal N ended it; 125 when seccomp-drive itself failed,
126 when CMD cannot be run, 127 when it is not found; 74 when CMD succeeded but its files could not all be pushed.
"""

_DRIVE_COMMANDS = ("find", "fsck", "gc", "invite", "key", "register", "serve", "share", "unshare")
"""Each a module of launcher/commands with options of its own."""

Maintain = Callable[[str, "Settings"], int]
"""Runs `status` or `sync`; the exit status."""


def _maintenance() -> Maintain:
    from broker.maintenance import run

    return run


def _session() -> Serve:
    """In the broker's process only."""
    from broker.session import serve

    return serve


def main(
    words: Sequence[str] | None = None,
    session: Callable[[], Serve] = _session,
    maintenance: Callable[[], Maintain] = _maintenance,
) -> int:
    """Run a command line; the exit status. `session` gives what serves a program under `exec`, `maintenance` what
    looks after mirrors."""
    words = sys.argv[1:] if words is None else words
    if words and words[0] in _DRIVE_COMMANDS:
        return _drive(words[0], words[1:])
    if words and words[0] == "exec":
        gc.disable()  # what is made until the program runs stays: to look through it again and again takes 5 ms
        _load_msgspec()
    from launcher.words import parse  # only now: it loads much

    try:
        arguments = parse(words)
    except UsageError as error:
        say(f"{error}; see seccomp-drive --help")
        return FAILED
    if arguments.command == "help":
        print(HELP, end="")
        return 0
    if arguments.command == "version":
        from importlib.metadata import version

        print(f"seccomp-drive {version('seccomp-drive')}")
        return 0
    try:
        return _run(arguments, session, maintenance)
    except KeyboardInterrupt:
        return 128 + 2


def _load_msgspec() -> None:
    """Without typing_extensions, of which it takes, if it is there, what typing has as well; but that one loads
    inspect, ast and tokenize, which takes 10 ms."""
    name = "typing_extensions"
    if name in sys.modules:
        return
    sys.modules[name] = None  # type: ignore[assignment]  # importing it then fails (sys.modules)
    try:
        __import__("msgspec")
    finally:
        del sys.modules[name]


def _drive(command: str, words: Sequence[str]) -> int:
    from importlib import import_module

    from broker.drive.errors import DriveError
    from broker.errors import SetupError
    from broker.remotes.protocol import RemoteError
    from launcher.document import PolicyError

    try:
        return int(import_module(f"launcher.commands.{command}").run(words))
    except (UsageError, PolicyError, SetupError, DriveError, RemoteError) as error:
        say(str(error))
        return FAILED
    except KeyboardInterrupt:
        return 128 + 2


def _run(arguments: Arguments, session: Callable[[], Serve], maintenance: Callable[[], Maintain]) -> int:
    if arguments.command == "check":
        from launcher.check import check

        return _leave(check(arguments.policy, arguments.mounts))
    from launcher.document import PolicyError
    from launcher.policy import load

    try:
        settings = load(arguments.policy, arguments.mounts, os.environ)
    except PolicyError as error:
        say(str(error))
        return FAILED
    if arguments.command == "exec":
        from broker.errors import SetupError
        from launcher.procfs import NOT_OURS, is_ours
        from launcher.spawn import run

        if not is_ours():
            say(NOT_OURS)
            return FAILED
        try:
            status = run(settings, arguments.argv, session, keep_running=arguments.keep_running)
        except SetupError as error:
            say(str(error))
            status = FAILED
        os._exit(status)  # 4 ms faster than tidying the interpreter up
    return _leave(maintenance()(arguments.command, settings))


def _leave(status: int) -> int:
    """End here if a thread hangs in a remote: the interpreter would wait for it."""
    if threading.active_count() > 1:
        sys.stdout.flush()
        os._exit(status)
    return status
