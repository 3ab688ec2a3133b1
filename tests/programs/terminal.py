"""A program on a pseudo terminal, driven by what it shows."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType


class Terminal:
    """Starts `argv` as the leader of a session on a new terminal of 24 lines and 80 columns."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self.transcript = b""
        self._seen = 0
        self._pid, self._master = pty.fork()
        if self._pid == 0:
            try:
                os.chdir(cwd)
                os.umask(0o022)
                os.execvpe(argv[0], list(argv), dict(env))
            finally:
                os._exit(127)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        os.close(self._master)

    def expect(self, text: bytes, seconds: float = 30) -> None:
        """Read until `text` has been shown since the last expectation; AssertionError with the transcript if not."""
        deadline = time.monotonic() + seconds
        while (at := self.transcript.find(text, self._seen)) < 0:
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"{text!r} was not shown, but {self.transcript[self._seen :]!r}")
        self._seen = at + len(text)

    def send(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def wait(self, seconds: float = 30) -> int:
        """The exit status as a shell would say it; reads what is still shown."""
        deadline = time.monotonic() + seconds
        while self._read(deadline - time.monotonic()):
            pass
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            time.sleep(0.01)
        raise AssertionError(f"the program did not end; it showed {self.transcript[-2000:]!r}")

    def _read(self, seconds: float) -> bool:
        """Whether something was shown within that time; False also when the terminal is closed."""
        if not select.select([self._master], [], [], max(seconds, 0))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return False
        self.transcript += data
        return bool(data)
