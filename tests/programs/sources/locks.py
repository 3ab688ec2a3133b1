"""Takes locks of one kind on a file and tries them from other processes, printing who was granted or refused."""

import fcntl
import os
import struct
import sys
from collections.abc import Callable

F_OFD_SETLK = 37


def lock(descriptor: int, kind: str, how: int, start: int = 0, length: int = 0) -> bool:
    """Whether the lock was granted."""
    try:
        if kind == "flock":
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        elif kind == "posix":
            fcntl.lockf(descriptor, how | fcntl.LOCK_NB, length, start)
        else:
            types = {fcntl.LOCK_SH: fcntl.F_RDLCK, fcntl.LOCK_EX: fcntl.F_WRLCK, fcntl.LOCK_UN: fcntl.F_UNLCK}
            fcntl.fcntl(descriptor, F_OFD_SETLK, struct.pack("hhqqi", types[how], os.SEEK_SET, start, length, 0))
    except BlockingIOError:
        return False
    return True


def in_child(what: str, attempt: Callable[[], bool]) -> None:
    """Say what a new process is told."""
    sys.stdout.flush()
    if (pid := os.fork()) == 0:
        print(what, "granted" if attempt() else "refused", flush=True)
        os._exit(0)
    os.waitpid(pid, 0)


def main(path: str, kind: str) -> None:
    def attempt(how: int, start: int = 0, length: int = 0) -> bool:
        return lock(os.open(path, os.O_RDWR), kind, how, start, length)

    first = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    print("first", lock(first, kind, fcntl.LOCK_EX, 0, 10))
    in_child("exclusive beside exclusive:", lambda: attempt(fcntl.LOCK_EX))
    in_child("shared beside exclusive:", lambda: attempt(fcntl.LOCK_SH))
    in_child("another range:", lambda: attempt(fcntl.LOCK_EX, 100, 10))
    print("to shared", lock(first, kind, fcntl.LOCK_SH, 0, 10))
    in_child("shared beside shared:", lambda: attempt(fcntl.LOCK_SH))
    in_child("exclusive beside shared:", lambda: attempt(fcntl.LOCK_EX, 0, 10))
    os.write(first, b"written under the lock\n")
    in_child("after a write:", lambda: attempt(fcntl.LOCK_EX, 0, 10))
    os.close(first)
    in_child("after close:", lambda: attempt(fcntl.LOCK_EX))
    in_child("after that exit:", lambda: attempt(fcntl.LOCK_EX))


if __name__ == "__main__":
    main(*sys.argv[1:])
