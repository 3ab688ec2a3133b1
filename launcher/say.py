"""The one way in which the launcher speaks to its user: a line on standard error."""

from __future__ import annotations

import os

FAILED = 125
"""Exit status: seccomp-drive itself failed."""
NOT_EXECUTABLE = 126
NOT_FOUND = 127
NOT_PUSHED = 74
"""Exit status EX_IOERR of sysexits.h: the program succeeded, its data could not all be pushed."""


def say(message: str) -> None:
    """Write ``seccomp-drive: MESSAGE``, unbuffered so that no fork doubles it. Nobody listening is no error."""
    try:
        os.write(2, f"seccomp-drive: {message}\n".encode(errors="backslashreplace"))
    except OSError:
        pass
