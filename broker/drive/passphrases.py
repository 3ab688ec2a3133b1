"""Where passphrases come from: a file named in the environment, or the terminal without echo."""

from __future__ import annotations

import contextlib
import os
import termios
from collections.abc import Mapping
from io import FileIO

from broker.drive.keyring import KeyringError

FILE = "SECCOMP_DRIVE_PASSPHRASE_FILE"
NEW_FILE = "SECCOMP_DRIVE_NEW_PASSPHRASE_FILE"


class Passphrases:
    """Asks for passphrases: reads `file` for the one that is in use, else what the environment names, else prompts.

    All methods raise `KeyringError`.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, file: str | None = None) -> None:
        self._environ = {**environ, FILE: file} if file else environ

    def existing(self, path: str) -> str:
        """That of the key file at `path`."""
        return self._from_file(FILE) or _ask(f"Passphrase of {path}: ", FILE)

    def for_new(self) -> str | None:
        """One for a key file that is being made; None if it shall have none."""
        return self._from_file(FILE) or _ask_twice(FILE)

    def replacement(self) -> str | None:
        """One to take the place of another; None if there shall be none any more."""
        return self._from_file(NEW_FILE) or _ask_twice(NEW_FILE)

    def _from_file(self, variable: str) -> str | None:
        name = self._environ.get(variable)
        if not name:
            return None
        try:
            with open(name, encoding="utf-8") as file:
                passphrase = file.readline(4096).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise KeyringError(f"the passphrase cannot be read from {name} ({variable}): {error}") from error
        if not passphrase:
            raise KeyringError(f"the first line of {name} ({variable}) is empty; write the passphrase there")
        return passphrase


def _ask_twice(variable: str) -> str | None:
    passphrase = _ask("New passphrase (empty for none): ", variable)
    if passphrase and _ask("Once more: ", variable) != passphrase:
        raise KeyringError("the two passphrases differ; nothing was changed, try again")
    return passphrase or None


def _ask(prompt: str, variable: str) -> str:
    try:
        with _terminal(variable) as terminal:
            line = _typed(terminal, f"seccomp-drive: {prompt}".encode())
    except (OSError, termios.error) as error:
        raise KeyringError(
            f"the terminal failed ({error}): write the passphrase into a file, named by {variable}"
        ) from error
    if not line:
        raise KeyringError(f"no passphrase was typed: try again, or write it into a file, named by {variable}")
    try:
        return line.rstrip(b"\r\n").decode()
    except UnicodeDecodeError as error:
        raise KeyringError("what was typed is not UTF-8: nothing was changed, try another terminal") from error


def _typed(terminal: FileIO, prompt: bytes) -> bytes:
    """One line, without echo; empty at the end of the input. However it ends, echo is as it was."""
    before = termios.tcgetattr(terminal)
    silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    try:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
        terminal.write(prompt)
        return terminal.readline()
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        terminal.write(b"\n")


def _terminal(variable: str) -> FileIO:
    """The terminal of this session; or one that is a standard descriptor, as the broker's session has none itself."""
    for name in ("/dev/tty", "/proc/self/fd/2", "/proc/self/fd/0", "/proc/self/fd/1"):
        with contextlib.suppress(OSError):
            terminal = FileIO(os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC), "r+")
            if terminal.isatty():
                os.set_blocking(terminal.fileno(), True)
                return terminal
            terminal.close()
    raise KeyringError(
        f"a passphrase is needed and there is no terminal to ask on: write it into a file, named by {variable}"
    )
