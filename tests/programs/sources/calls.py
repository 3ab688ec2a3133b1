"""Makes the raw system calls that a file of JSON lists, and prints the result or errno of each.

The file holds cases; each case is a list of calls `[name, argument, ...]` and runs in a new folder with a small tree.
An argument is a number, a text (a path), null (NULL), or `{"fd": slot}`, a descriptor that an earlier call opened.
In texts, %T is the absolute path of the case's folder.
"""

import ctypes
import errno
import json
import os
import stat
import struct
import sys
from collections.abc import Callable
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
OLD = 1_600_000_000

NUMBERS = {
    "open": 2, "openat": 257, "openat2": 437, "creat": 85, "stat": 4, "lstat": 6, "newfstatat": 262, "statx": 332,
    "access": 21, "faccessat": 269, "faccessat2": 439, "readlink": 89, "readlinkat": 267, "statfs": 137,
    "mkdir": 83, "mkdirat": 258, "mknod": 133, "mknodat": 259, "unlink": 87, "unlinkat": 263, "rmdir": 84,
    "rename": 82, "renameat": 264, "renameat2": 316, "link": 86, "linkat": 265, "symlink": 88, "symlinkat": 266,
    "chmod": 90, "fchmodat": 268, "fchmodat2": 452, "chown": 92, "lchown": 94, "fchownat": 260, "utimensat": 280,
    "truncate": 76, "setxattr": 188, "lsetxattr": 189, "getxattr": 191, "lgetxattr": 192, "listxattr": 194,
    "removexattr": 197, "lremovexattr": 198, "chdir": 80, "fchdir": 81, "getcwd": 79, "ftruncate": 77, "fchmod": 91,
    "fsync": 74, "fstat": 5, "fallocate": 285, "fsetxattr": 190, "write": 1, "pread": 17, "close": 3, "lseek": 8,
    "utime": 132, "utimes": 235, "fchown": 93, "fremovexattr": 199, "getdents": 217, "dup": 32,
}  # fmt: skip

OPENS = ("open", "openat", "openat2", "creat", "dup")
OUTPUTS = ("stat", "lstat", "fstat", "newfstatat", "statx", "readlink", "readlinkat", "getcwd", "pread",
           "getxattr", "lgetxattr", "listxattr", "statfs", "getdents")  # fmt: skip


class Case:
    """One list of calls; `top` is the folder that they start in."""

    def __init__(self, top: bytes) -> None:
        self.top = top
        self.slots: dict[int, int] = {}

    def run(self, call: list[Any]) -> str:
        name, *arguments = call
        buffer = ctypes.create_string_buffer(65536) if name in OUTPUTS else None
        keep = [self.native(argument, buffer) for argument in arguments]
        if name == "close":
            for slot in arguments:
                self.slots.pop(slot["fd"], None) if isinstance(slot, dict) else None
        result = LIBC.syscall(NUMBERS[name], *keep)
        if result < 0:
            return errno.errorcode[ctypes.get_errno()]
        if name in OPENS:
            slot = len(self.slots)
            while slot in self.slots:
                slot += 1
            self.slots[slot] = result
            return f"slot {slot} {stat.filemode(os.fstat(result).st_mode)}"
        return self.shown(name, result, buffer.raw if buffer else b"")

    def native(self, argument: object, buffer: object) -> object:
        if isinstance(argument, str):
            return ctypes.c_char_p(os.fsencode(argument.replace("%T", os.fsdecode(self.top))))
        if isinstance(argument, dict):
            if "buffer" in argument:
                return buffer
            if "struct" in argument:
                return ctypes.c_char_p(struct.pack(f"{len(argument['struct'])}q", *argument["struct"]))
            return ctypes.c_long(self.slots.get(argument["fd"], -1))
        return ctypes.c_long(argument) if isinstance(argument, int) else None

    def shown(self, name: str, result: int, data: bytes) -> str:
        if name in ("stat", "lstat", "fstat", "newfstatat"):
            _, _, links, mode, uid, gid, _, _, size, _, _, _, _, seconds, nanoseconds = struct.unpack_from(
                "3Q4I8q", data
            )
            return describe(mode, links, uid, gid, size, seconds, nanoseconds)
        if name == "statx":
            _, _, _, links, uid, gid, mode, _, _, size = struct.unpack_from("2IQ3IHHQQ", data)
            return describe(mode, links, uid, gid, size, *struct.unpack_from("qI", data, 112))
        if name == "getdents":
            return f"{result > 0}"
        if name == "listxattr":
            return repr(sorted(data[:result].split(b"\0")))
        if name == "getcwd":
            return repr(data[: result - 1].removeprefix(self.top))
        return f"{result} {data[:result]!r}" if name in OUTPUTS and name != "statfs" else str(result)


def describe(mode: int, links: int, uid: int, gid: int, size: int, seconds: int, nanoseconds: int) -> str:
    when = f"{seconds}.{nanoseconds:09}" if seconds < OLD + 1000 or seconds > 4 * 10**9 else "now"
    length = "" if stat.S_ISDIR(mode) else f" {size} bytes"
    return f"{stat.filemode(mode)} {links} links {uid}:{gid}{length} {when}"


def prepare(top: bytes) -> None:
    """The tree that every case starts with."""
    os.makedirs(top + b"/d/e")
    for name, content in ((b"a", b"content of a"), (b"b", b""), (b"d/a", b"inner")):
        with open(top + b"/" + name, "wb") as file:
            file.write(content)
    for target, name in ((b"a", b"l"), (b"d", b"ld"), (b"none", b"dangling"), (b"loop", b"loop"), (top + b"/d", b"abs"),  # noqa: E501
                         (b"..", b"up"), (b"../a", b"d/l")):  # fmt: skip
        os.symlink(target, top + b"/" + name)
    os.link(top + b"/a", top + b"/h")
    os.mkfifo(top + b"/p")
    os.chmod(top + b"/b", 0o600)
    for folder, folders, files in os.walk(top, topdown=False):
        for name in [*files, *folders]:
            os.utime(os.path.join(folder, name), (OLD, OLD), follow_symlinks=False)
    os.utime(top, (OLD, OLD))


def listing(top: bytes) -> list[str]:
    lines = []
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            line = f"{path.removeprefix(top)!r} {stat.filemode(status.st_mode)} {status.st_nlink}"
            same = [entry for entry in os.scandir(folder) if entry.name == name and entry.inode() == status.st_ino]
            lines.append(f"{line} {os.readlink(path)!r}" if stat.S_ISLNK(status.st_mode) else f"{line} {len(same)}")
    return sorted(lines)


def perform(base: str, cases: list[list[list[Any]]], say: Callable[[str], None]) -> None:
    os.umask(0o022)
    for index, calls in enumerate(cases):
        top = os.fsencode(f"{base}/case-{index}/1/2/3/4")
        prepare(top)
        os.chdir(top)
        case = Case(top)
        for number, call in enumerate(calls):
            say(f"{index}.{number} {json.dumps(call)} = {case.run(call)}")
        for descriptor in case.slots.values():
            os.close(descriptor)
        os.chdir("/")
        for line in listing(os.fsencode(f"{base}/case-{index}")):
            say(f"{index}.end {line}")


if __name__ == "__main__":
    with open(sys.argv[2]) as file:
        perform(sys.argv[1], json.load(file), print)
