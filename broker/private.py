"""Folders for the user alone."""

from __future__ import annotations

import os


def make_private(directory: str) -> None:
    """Make a folder, and those above it that there are not, with mode 0700.

    makedirs(3) gives its mode to the last one only, and the umask is the whole process's: other threads make files.
    """
    if os.path.isdir(directory):
        return
    above = os.path.dirname(directory.rstrip("/"))
    if above:
        make_private(above)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        if not os.path.isdir(directory):
            raise
