"""What a program does with files that it has open, in the folder that it is given."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import sys
from collections.abc import Callable


def say(what: str, call: Callable[..., object], *arguments: object) -> None:
    try:
        print(what, call(*arguments))
    except OSError as error:
        print(what, errno.errorcode[error.errno or 0])


def nameless(path: str) -> None:
    """Of a file without a name the kernel keeps all there is to know."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.unlink(path)
    say("fsetxattr", os.setxattr, file, "user.a", b"1")
    say("fgetxattr", os.getxattr, file, "user.a")
    say("flistxattr", os.listxattr, file)
    say("fremovexattr", os.removexattr, file, "user.a")
    say("fchmod", os.fchmod, file, 0o600)
    say("futimens", lambda: os.utime(file, (1, 1)))
    say("fsync", os.fsync, file)
    print(oct(os.fstat(file).st_mode), os.fstat(file).st_mtime)
    os.close(file)


def without_numbers(path: str) -> None:
    """At the limit on descriptors nothing is emptied, or made."""
    with open(path, "w") as file:
        file.write("precious")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (20, 0):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limits[1]))
        taken = []
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        say("O_TRUNC", os.open, path, os.O_WRONLY | os.O_TRUNC)
        say("O_CREAT", os.open, path + "-new", os.O_WRONLY | os.O_CREAT)
        if taken:
            os.close(taken.pop())
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        for number in taken:
            os.close(number)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    print(os.path.getsize(path), os.path.exists(path + "-new"))


os.chdir(sys.argv[1])
for path in ("made", os.path.abspath("made")):
    nameless(path)
    without_numbers(path)
