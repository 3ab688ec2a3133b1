"""What is dirty, noted beside the ledger: should that be lost, what was not pushed is found again.

Each session has a file of its own that it only appends to, and holds by a lock that ends with it. A line takes a
microsecond. Marks are hints: one that was not taken back in time costs a look at a file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Mapping

from broker.remotes.protocol import Version

_LONG = 1 << 20
"""Bytes after which the file is written anew."""


class Marks:
    """The marks of this session, and those of sessions that have ended."""

    def __init__(self, directory: str) -> None:
        self._directory = os.path.join(directory, "marks")
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        self._set: dict[int, Version] = {}
        self._begin()

    def set(self, ino: int, version: Version) -> None:
        """The file may have content that the remote does not have; there it was at that version."""
        if self._set.get(ino) != version:
            self._set[ino] = version
            self._append(b"%d %s\n" % (ino, os.fsencode(version)))

    def clear(self, ino: int) -> None:
        """It has none any more."""
        if self._set.pop(ino, None) is not None:
            self._append(b"%d\n" % ino)

    def note(self, versions: Mapping[int, Version | None]) -> None:
        """`set` those that have a version, `clear` the others."""
        for ino, version in versions.items():
            if version is None:
                self.clear(ino)
            else:
                self.set(ino, version)

    def left(self) -> dict[int, Version]:
        """Take over the marks of sessions that have ended."""
        found: dict[int, Version] = {}
        for name in os.listdir(self._directory):
            path = os.path.join(self._directory, name)
            if path != self._path and not name.startswith("."):
                with contextlib.suppress(FileNotFoundError):
                    found |= self._take_over(path)
        return found

    def close(self) -> None:
        """What is still marked is left for the next session."""
        if not self._set:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        os.close(self._file)

    def _take_over(self, path: str) -> dict[int, Version]:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if not _lock(file):
                return {}
            marks = _read(file)
            for ino, version in marks.items():
                self.set(ino, version)
            os.unlink(path)
            return marks
        finally:
            os.close(file)

    def _append(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk
            self._size += os.write(self._file, line)
            if self._size > _LONG:
                old, path = self._file, self._path
                self._begin()
                os.unlink(path)
                os.close(old)

    def _begin(self) -> None:
        """A new file with the marks that there are, which nobody takes over before it is locked: it has a dot."""
        name = os.urandom(8).hex()
        hidden, self._path = (os.path.join(self._directory, each) for each in (f".{name}", name))
        self._file = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _lock(self._file)
        os.rename(hidden, self._path)
        lines = b"".join(b"%d %s\n" % (ino, os.fsencode(version)) for ino, version in self._set.items())
        self._size = os.write(self._file, lines) - len(lines)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: int) -> dict[int, Version]:
    """The marks of one file; a line that is damaged is none."""
    marks: dict[int, Version] = {}
    with open(os.dup(file), "rb") as lines:
        for line in lines:
            number, _, version = line.rstrip(b"\n").partition(b" ")
            if not number.isdigit():
                continue
            if version:
                marks[int(number)] = Version(os.fsdecode(version))
            else:
                marks.pop(int(number), None)
    return marks
