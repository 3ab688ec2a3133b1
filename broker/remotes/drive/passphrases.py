"""Where the passphrase of a key file comes from: a file, or a prompt on the terminal."""

from __future__ import annotations

import os
import termios
from collections.abc import Callable, Mapping

from broker.drive.keyring import KeyringError

VARIABLE = "SECCOMP_DRIVE_PASSPHRASE_FILE"


def passphrase_from(file: str | None, environ: Mapping[str, str]) -> Callable[[str], str]:
    """What to ask with the path of a key file: reads `file`, else that of the variable, else prompts."""
    named = file or environ.get(VARIABLE)
    return (lambda _: _first_line(named)) if named else (lambda path: prompt(f"Passphrase of {path}: "))


def prompt(text: str) -> str:
    """A line typed at the terminal that a standard descriptor is, without echo. KeyringError when none is one.

    The broker has a session of its own, and so no /dev/tty; a terminal that it has inherited it can still use.
    """
    terminal = next((number for number in (2, 0, 1) if os.isatty(number)), None)
    if terminal is None:
        raise KeyringError(
            f"the key file needs a passphrase, and there is no terminal: put it into a file and "
            f"name that in {VARIABLE}"
        )
    with open(os.open(os.ttyname(terminal), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC), "r+b", buffering=0) as tty:
        before = termios.tcgetattr(tty)
        silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
        try:
            termios.tcsetattr(tty, termios.TCSAFLUSH, silent)
            tty.write(text.encode())
            line = tty.readline()
        finally:
            termios.tcsetattr(tty, termios.TCSAFLUSH, before)
            tty.write(b"\n")
    if not line:
        raise KeyringError("no passphrase was typed")
    return line.rstrip(b"\n").decode(errors="surrogateescape")


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise KeyringError(f"the passphrase file {path} cannot be read: {reason}") from error
