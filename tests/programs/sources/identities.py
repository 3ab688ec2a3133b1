"""Makes system calls as somebody else: each case of a JSON file in a process of its own that has left root behind.

A case is {"who": ..., "top": folder, "calls": [[name, [call, ...]], ...]}: the lists are those of `calls.py`, and
each is run by itself, with the folder as working directory. Beside its calls there are `exec` and `list`.
"""

import ctypes
import errno
import json
import os
import struct
import sys
from typing import Any

from calls import Case

LIBC = ctypes.CDLL(None, use_errno=True)
USER, OTHER, GROUP = 1234, 2345, 3456
CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "DAC_READ_SEARCH": 2,
    "FOWNER": 3,
    "FSETID": 4,
    "SETUID": 7,
    "MKNOD": 27,
}
CLONE_NEWUSER = 0x10000000
PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 4, 8
CAPGET, CAPSET = 125, 126


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def capabilities() -> tuple[list[int], ctypes.Array[ctypes.c_char], ctypes.Array[ctypes.c_char]]:
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
    data = ctypes.create_string_buffer(24)
    checked(LIBC.syscall(CAPGET, header, data))
    return list(struct.unpack("6I", data.raw[:24])), header, data


def set_effective(keep: int) -> None:
    """Have those of the permitted capabilities in force that are in the mask `keep`."""
    words, header, _ = capabilities()
    words[0], words[3] = words[1] & keep & 0xFFFFFFFF, words[4] & keep >> 32
    checked(LIBC.syscall(CAPSET, header, ctypes.create_string_buffer(struct.pack("6I", *words))))


def leave(groups: list[int]) -> None:
    os.setgroups(groups)
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)


def map_ids(inside: int, outside: int) -> None:
    """A user namespace of one's own in which one id stands for another."""
    checked(LIBC.unshare(CLONE_NEWUSER))
    one = f"{inside} {outside} 1"
    for name, text in (("setgroups", "deny"), ("uid_map", one), ("gid_map", one)):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def become(who: str) -> None:
    """Take the identity; some only partly, as programs do between two steps."""
    kind, _, rest = who.partition(" ")
    if kind == "user":
        leave([GROUP] if rest == "in-group" else [])
    elif kind == "fsuid":
        LIBC.setfsgid(USER)
        LIBC.setfsuid(USER)
    elif kind == "effective":
        os.setresgid(-1, USER, -1)
        os.setresuid(-1, USER, -1)
    elif kind == "real":
        os.setresgid(USER, -1, -1)
        os.setresuid(USER, -1, -1)
    elif kind == "without":
        set_effective(~sum(1 << CAPABILITIES[name] for name in rest.split()))
    elif kind == "with":
        checked(LIBC.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
        leave([])
        set_effective(sum(1 << CAPABILITIES[name] for name in rest.split()))
    elif kind == "namespace":
        if rest != "of-root":
            leave([])
            LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        if rest == "unmapped":
            checked(LIBC.unshare(CLONE_NEWUSER))
        else:
            map_ids(0, 0 if rest == "of-root" else USER)


def execute(path: str) -> str:
    """Run a program; what execve(2) says, or what the program printed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        try:
            os.execv(path, [path])
        except OSError as error:
            os.write(1, errno.errorcode[error.errno or 0].encode())
        os._exit(1)
    os.close(writing)
    said = b"".join(iter(lambda: os.read(reading, 4096), b""))
    os.close(reading)
    os.waitpid(child, 0)
    return said.decode().strip()


def outcome(case: Case, call: list[Any]) -> str:
    if call[0] == "exec":
        return execute(call[1])
    if call[0] == "list":
        try:
            return repr(sorted(os.listdir(call[1])))
        except OSError as error:
            return errno.errorcode[error.errno or 0]
    return case.run(call)


def run(case: dict[str, Any], index: int) -> None:
    os.chdir(case["top"])
    become(case["who"])
    for name, calls in case["calls"]:
        here = Case(os.fsencode(case["top"]))
        said = [outcome(here, call) for call in calls]
        for descriptor in here.slots.values():
            os.close(descriptor)
        LIBC.syscall(80, os.fsencode(case["top"]))
        print(f"{index} {case['who']}: {name} = {'; '.join(said)}")


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        cases = json.load(file)
    for index, case in enumerate(cases):
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os.umask(0o027)
            try:
                run(case, index)
            except BaseException as error:
                print(f"{index} {case['who']}: {error!r}")
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
