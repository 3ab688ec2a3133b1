"""The words of a command line, taken apart: exec, check, status and sync."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from launcher.usage import UsageError

_COMMANDS = ("exec", "check", "status", "sync")
_WITH_VALUE = {"-p": "policy", "--policy": "policy", "-m": "mount", "--mount": "mount"}


class Arguments(Struct):
    """A command line, taken apart. `command` may also be ``help`` or ``version``."""

    command: str
    policy: str | None = None
    mounts: list[str] = field(default_factory=list)
    argv: list[str] = field(default_factory=list)
    keep_running: bool = False


def parse(words: Sequence[str]) -> Arguments:
    """The options end at the first word that is none, or at ``--``: what follows is the program's. UsageError."""
    if not words:
        raise UsageError("no command")
    if words[0] in ("-h", "--help", "help"):
        return Arguments("help")
    if words[0] == "--version":
        return Arguments("version")
    if words[0] not in _COMMANDS:
        raise UsageError(f'unknown command "{words[0]}"')
    arguments = Arguments(words[0])
    rest = list(words[1:])
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word in ("-h", "--help"):
            return Arguments("help")
        if word == "--keep-running" and arguments.command == "exec":
            arguments.keep_running = True
            continue
        name, value = _option(word, rest)
        if name == "policy":
            arguments.policy = value
        else:
            arguments.mounts.append(value)
    arguments.argv = rest
    if arguments.command == "exec" and not rest:
        raise UsageError("exec needs a program to run")
    if arguments.command != "exec" and rest:
        raise UsageError(f'{arguments.command} takes no "{rest[0]}"')
    return arguments


def _option(word: str, rest: list[str]) -> tuple[str, str]:
    """(name, value) of ``-p X``, ``-pX``, ``--policy X`` or ``--policy=X``."""
    if word.startswith("--"):
        key, attached, value = word.partition("=")
    else:
        key, value = word[:2], word[2:]
        attached = value
    if key not in _WITH_VALUE:
        raise UsageError(f'unknown option "{word}"')
    if not attached:
        if not rest:
            raise UsageError(f'"{word}" needs a value')
        value = rest.pop(0)
    return _WITH_VALUE[key], value
