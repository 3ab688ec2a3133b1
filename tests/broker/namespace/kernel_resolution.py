"""The kernel as the judge of path resolution: a child process in a mount namespace of its own, asked over a pipe."""

from __future__ import annotations

import ctypes
import json
import os
import stat
import struct
import subprocess
import sys
from types import TracebackType

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
SYS_OPENAT2 = 437


class Refused(Exception):
    """This machine allows no mount namespace here."""


class Kernel:
    """A process whose root is `root`, with folders of it mounted on others (`mounts`: target to source)."""

    def __init__(self, root: str, mounts: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, root, json.dumps(mounts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if (problem := self._read()) is not None:
            self._process.wait()
            raise Refused(problem)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._process.communicate()

    def open(self, base: bytes, text: bytes, flags: int, how: int = 0) -> bytes | int:
        """openat2(2) from the folder `base`: the absolute path of what was opened, or an errno.

        A file that the call creates is removed again; files that exist must not be empty.
        """
        return self._ask("open", base, text, flags, how)

    def mkdir(self, base: bytes, text: bytes) -> bytes | int:
        """mkdirat(2) from the folder `base`: the absolute path of the folder, removed again, or an errno."""
        return self._ask("mkdir", base, text)

    def _ask(self, call: str, base: bytes, text: bytes, *numbers: int) -> bytes | int:
        assert self._process.stdin is not None
        question = [call, base.decode("latin-1"), text.decode("latin-1"), *numbers]
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        return answer if isinstance(answer, int) else str(answer).encode("latin-1")

    def _read(self) -> object:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def _isolate(root: str, mounts: dict[str, str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    uid, gid = os.geteuid(), os.getegid()
    check(libc.unshare(CLONE_NEWNS | (0 if uid == 0 else CLONE_NEWUSER)))
    if uid != 0:
        for name, value in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(value)
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    for target, source in mounts.items():
        check(libc.mount((root + source).encode(), (root + target).encode(), None, MS_BIND, None))
    os.chroot(root)
    os.chdir("/")


def _openat2(folder: int, text: bytes, flags: int, how: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    mode = 0o600 if flags & os.O_CREAT else 0
    fd = libc.syscall(SYS_OPENAT2, folder, text, struct.pack("QQQ", flags | os.O_CLOEXEC, mode, how), 24)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "openat2")
    return int(fd)


def _serve(descriptors: int) -> None:
    """Answer questions until the pipe ends; `descriptors` is /proc/self/fd, which the new root hides."""
    for line in sys.stdin:
        call, base, text, *numbers = json.loads(line)
        folder = os.open(base.encode("latin-1"), os.O_PATH | os.O_DIRECTORY)
        fd = -1
        try:
            path = text.encode("latin-1")
            if call == "mkdir":
                os.mkdir(path, dir_fd=folder)
                fd = os.open(path, os.O_PATH, dir_fd=folder)
            else:
                fd = _openat2(folder, path, *numbers)
            answer: int | str = os.readlink(b"%d" % fd, dir_fd=descriptors).decode("latin-1")
            status = os.fstat(fd)
            if call == "mkdir":
                os.rmdir(path, dir_fd=folder)
            elif stat.S_ISREG(status.st_mode) and not status.st_size:
                os.unlink(str(answer).encode("latin-1"))
        except OSError as error:
            assert error.errno is not None
            answer = error.errno
        finally:
            if fd >= 0:
                os.close(fd)
            os.close(folder)
        print(json.dumps(answer), flush=True)


def main() -> None:
    descriptors = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
    try:
        _isolate(sys.argv[1], json.loads(sys.argv[2]))
    except OSError as error:
        print(json.dumps(str(error)), flush=True)
        return
    print("null", flush=True)
    _serve(descriptors)


if __name__ == "__main__":
    main()
