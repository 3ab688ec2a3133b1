"""Tries every call that changes something on the folder given, and prints the result or errno of each."""

import ctypes
import errno
import fcntl
import mmap
import os
import sys
from collections.abc import Callable

TOP = sys.argv[1]
LIBC = ctypes.CDLL(None, use_errno=True)


def say(what: str, call: Callable[[], object]) -> None:
    try:
        result = call()
        print(what, "ok" if not isinstance(result, bool) else result)
        if isinstance(result, int) and result > 2:
            os.close(result)
    except OSError as error:
        print(what, errno.errorcode[error.errno or 0])


def p(name: str) -> str:
    return os.path.join(TOP, name)


def renameat2(one: str, two: str, flags: int) -> int:
    if LIBC.renameat2(-100, p(one).encode(), -100, p(two).encode(), flags) < 0:
        raise OSError(ctypes.get_errno(), "renameat2")
    return 0


def opening(name: str, flags: int, target: str) -> None:
    say(f"open {name} {target}", lambda: os.open(p(target), flags, 0o644))


def by_name(target: str) -> None:
    say(f"mkdir {target}", lambda: os.mkdir(p(target)))
    say(f"rmdir {target}", lambda: os.rmdir(p(target)))
    say(f"unlink {target}", lambda: os.unlink(p(target)))
    say(f"symlink {target}", lambda: os.symlink("x", p(target)))
    say(f"mkfifo {target}", lambda: os.mkfifo(p(target)))
    say(f"link {target}", lambda: os.link(p("hello.txt"), p(target)))
    say(f"link from {target}", lambda: os.link(p(target), p("new")))
    say(f"rename {target}", lambda: os.rename(p(target), p("renamed")))
    say(f"rename to {target}", lambda: os.rename(p("empty"), p(target)))
    say(f"rename to itself {target}", lambda: os.rename(p(target), p(target)))
    say(f"exchange {target}", lambda: renameat2(target, "big.bin", 2))
    say(f"noreplace {target}", lambda: renameat2("big.bin", target, 1))
    say(f"chmod {target}", lambda: os.chmod(p(target), 0o600))
    say(f"chown {target}", lambda: os.chown(p(target), -1, -1))
    say(f"lchown {target}", lambda: os.chown(p(target), 1, 1, follow_symlinks=False))
    say(f"utime {target}", lambda: os.utime(p(target)))
    say(f"lutime {target}", lambda: os.utime(p(target), (1, 1), follow_symlinks=False))
    say(f"truncate {target}", lambda: os.truncate(p(target), 1))
    say(f"setxattr {target}", lambda: os.setxattr(p(target), "user.a", b"b"))
    say(f"removexattr {target}", lambda: os.removexattr(p(target), "user.a"))
    say(f"access W {target}", lambda: os.access(p(target), os.W_OK))
    say(f"access R {target}", lambda: os.access(p(target), os.R_OK))
    say(f"access E {target}", lambda: os.access(p(target), os.W_OK, effective_ids=True))


def by_descriptor(what: str, descriptor: int) -> None:
    say(f"fchmod {what}", lambda: os.fchmod(descriptor, 0o600))
    say(f"fchown {what}", lambda: os.fchown(descriptor, -1, 0))
    say(f"futimens {what}", lambda: os.utime(descriptor, (1, 1)))
    say(f"fsetxattr {what}", lambda: os.setxattr(descriptor, "user.a", b"b"))
    say(f"fremovexattr {what}", lambda: os.removexattr(descriptor, "user.a"))
    say(f"ftruncate {what}", lambda: os.ftruncate(descriptor, 1))
    say(f"fallocate {what}", lambda: os.posix_fallocate(descriptor, 0, 10))
    say(f"fsync {what}", lambda: os.fsync(descriptor))
    say(f"write {what}", lambda: os.write(descriptor, b"x"))
    say(f"reopen {what}", lambda: os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR))
    say(f"flock {what}", lambda: fcntl.flock(descriptor, fcntl.LOCK_EX))


def main() -> None:
    held = os.open(p("lines.txt"), os.O_RDONLY)
    folder = os.open(p("sub"), os.O_RDONLY)
    for name, flags in {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR, "trunc": os.O_TRUNC, "append": os.O_APPEND | os.O_WRONLY,  # noqa: E501
                        "creat": os.O_CREAT, "excl": os.O_CREAT | os.O_EXCL, "path": os.O_PATH}.items():  # fmt: skip
        for target in ("hello.txt", "missing", "sub", "absolute", "dangling", "missing/x", "hello.txt/"):
            opening(name, flags, target)
    for target in ("hello.txt", "missing", "sub", "sub/none", "dangling", ".", "missing/x", "hello.txt/x"):
        by_name(target)
    by_descriptor("file", held)
    by_descriptor("folder", folder)
    say("mkdirat", lambda: os.mkdir("new", dir_fd=folder))
    say("openat", lambda: os.open("new", os.O_CREAT | os.O_RDWR, dir_fd=folder))
    say("mmap shared", lambda: mmap.mmap(held, 0, prot=mmap.PROT_WRITE).close())
    say("mmap private", lambda: mmap.mmap(held, 0, mmap.MAP_PRIVATE).close())
    os.fchdir(folder)
    say("relative", lambda: os.open("new", os.O_CREAT | os.O_RDWR))
    say("relative unlink", lambda: os.unlink("one"))
    print(sorted(os.listdir(".")), os.path.exists("one"))


main()
