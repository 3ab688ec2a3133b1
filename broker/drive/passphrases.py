"""Where passphrases come from: a file named in the environment, or the terminal without echo."""

from __future__ import annotations

import getpass
import os
import warnings
from collections.abc import Mapping

from broker.drive.errors import DriveError

FILE = "SECCOMP_DRIVE_PASSPHRASE_FILE"
NEW_FILE = "SECCOMP_DRIVE_NEW_PASSPHRASE_FILE"


class NoPassphrase(DriveError):
    """There is nobody to ask, or what was said is no passphrase. The message says what to do."""

    code = "no-passphrase"


class Passphrases:
    """Asks for passphrases. All methods raise `NoPassphrase`."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ

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
            raise NoPassphrase(f"the passphrase cannot be read from {name} ({variable}): {error}") from error
        if not passphrase:
            raise NoPassphrase(f"the first line of {name} ({variable}) is empty; write the passphrase there")
        return passphrase


def _ask_twice(variable: str) -> str | None:
    passphrase = _ask("New passphrase (empty for none): ", variable)
    if passphrase and _ask("Once more: ", variable) != passphrase:
        raise NoPassphrase("the two passphrases differ; nothing was changed, try again")
    return passphrase or None


def _ask(prompt: str, variable: str) -> str:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError as error:
        raise NoPassphrase(
            f"a passphrase is needed and there is no terminal to ask on: write it into a file, named by {variable}"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(f"seccomp-drive: {prompt}")
        except (EOFError, getpass.GetPassWarning) as error:
            raise NoPassphrase(f"no passphrase was typed; try again, or name a file in {variable}") from error
