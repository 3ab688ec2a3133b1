"""Rare forms of common calls, in the folder given: on descriptors without a name, with NULL, with slashes."""

import ctypes
import errno
import os
import sys

AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000
NOREPLACE, EXCHANGE = 1, 2
STATX, NEWFSTATAT = 332, 262
LIBC = ctypes.CDLL(None, use_errno=True)


def say(what: str, result: int) -> None:
    print(what, errno.errorcode[ctypes.get_errno()] if result < 0 else "ok")


def main() -> None:
    os.chdir(sys.argv[1])
    replaced = os.open("hello.txt", os.O_RDONLY)
    os.rename("lines.txt", "hello.txt")
    removed = os.open("empty", os.O_RDONLY)
    os.unlink("empty")
    present, folder = os.open("sub/one", os.O_RDONLY), os.open("sub", os.O_RDONLY)
    for name, number in {"replaced": replaced, "removed": removed, "present": present, "folder": folder}.items():
        for new in ("linked", "sub/two"):
            say(f"link {name} {new}", LIBC.linkat(number, b"", AT_FDCWD, new.encode(), AT_EMPTY_PATH))
        buffer = ctypes.create_string_buffer(256)
        for flags in (0, AT_EMPTY_PATH):
            say(f"statx {name} {flags}", LIBC.syscall(STATX, number, None, flags, 0x7FF, buffer))
            say(f"newfstatat {name} {flags}", LIBC.syscall(NEWFSTATAT, number, None, buffer, flags))
    print(open("linked").read())
    os.mkdir("folder")
    for flags in (0, NOREPLACE, EXCHANGE):
        for one in ("sub", "hello.txt", "sub/link"):
            for two in ("folder", "big.bin", "none", "dangling"):
                for slashes in ((one + "/", two), (one, two + "/"), (one + "/", two + "/")):
                    result = LIBC.renameat2(AT_FDCWD, slashes[0].encode(), AT_FDCWD, slashes[1].encode(), flags)
                    say(f"rename {flags} {slashes}", result)
                    if not result:
                        os.rename(two, one) if flags != EXCHANGE else LIBC.renameat2(
                            AT_FDCWD, one.encode(), AT_FDCWD, two.encode(), EXCHANGE
                        )
                        if not os.path.lexists("folder"):
                            os.mkdir("folder")


main()
