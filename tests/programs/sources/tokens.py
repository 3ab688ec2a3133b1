"""Puts tokens into a file that others change at the same time, and prints each once its close has confirmed it."""

import fcntl
import os
import struct
import sys
from collections.abc import Callable

F_OFD_SETLKW = 38


def append(path: str, token: str) -> None:
    """One write(2) with O_APPEND."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, token.encode())
    os.close(file)


def rewrite(path: str, token: str, lock: Callable[[int], None] = lambda file: None) -> None:
    """Read all, and write it again with the token, through one descriptor."""
    with open(path, "r+b", buffering=0) as file:
        lock(file.fileno())
        text = file.read()
        file.seek(0)
        file.truncate()
        file.write(text + token.encode())


def posix(file: int) -> None:
    fcntl.lockf(file, fcntl.LOCK_EX)


def flock(file: int) -> None:
    fcntl.flock(file, fcntl.LOCK_EX)


def ofd(file: int) -> None:
    fcntl.fcntl(file, F_OFD_SETLKW, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))


def main(how: str, path: str, who: str, count: str) -> None:
    locks = {"posix": posix, "flock": flock, "ofd": ofd}
    for number in range(int(count)):
        token = f"{who}:{number}\n"
        if how == "append":
            append(path, token)
        elif how == "rewrite":
            rewrite(path, token)
        else:
            rewrite(path, token, locks[how])
        print(token, end="", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
