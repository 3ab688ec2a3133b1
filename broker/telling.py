"""What the user is told: lines on standard error."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

_MOST = 200
"""Lines of one session: who has read so many knows, and a hostile remote could go on."""


def tell(message: str) -> None:
    """A line for the user, on stderr: descriptor 2, since sys.stderr is None where that was closed at the start."""
    with contextlib.suppress(OSError):
        os.write(2, f"seccomp-drive: {plain(message)}\n".encode(errors="backslashreplace"))


def shown(path: bytes) -> str:
    """A path for the user's eyes."""
    return plain(path.decode(errors="backslashreplace"))


def named(prefix: bytes, path: bytes = b"") -> str:
    """A path below the prefix of a mount, as its user writes it, for his eyes."""
    return shown(prefix + b"/" + path if path else prefix)


def plain(text: str) -> str:
    """Without what would move the cursor or colour the screen: names come from a remote."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class Once:
    """Tells every message once, up to a number that is too many anyway."""

    def __init__(self, say: Callable[[str], None] = tell) -> None:
        self._say = say
        self._said: set[str] = set()

    def __call__(self, message: str) -> None:
        if message in self._said or len(self._said) > _MOST:
            return
        self._said.add(message)
        self._say(message if len(self._said) <= _MOST else "there is more to say than is of use; it ends here")
