"""A process whose second thread gives up its groups and ids, and then takes the first one's place by execve(2)."""

import ctypes
import os
import sys
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
SETGROUPS, SETRESUID, SETRESGID = 116, 117, 119
OPENING = """
import errno, os, sys
print("groups", os.getgroups(), "ids", os.getresuid(), os.getresgid())
for path in sys.argv[1:]:
    for attempt in range(3):
        try:
            os.close(os.open(path, os.O_RDONLY))
            print(os.path.basename(path), "opened")
        except OSError as error:
            print(os.path.basename(path), errno.errorcode[error.errno])
"""


def succeed(user: int, paths: list[str], begin: threading.Event) -> None:
    """System calls as they are: each is for this thread only."""
    for number, *arguments in ((SETGROUPS, 0, None), (SETRESGID, user, user, user), (SETRESUID, user, user, user)):
        if LIBC.syscall(number, *arguments):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    begin.wait()
    os.execv("/usr/bin/python3", ["python3", "-c", OPENING, *paths])


def main(user: str, group: str, *paths: str) -> None:
    os.setgroups([int(group)])
    begin = threading.Event()
    threading.Thread(target=succeed, args=(int(user), list(paths), begin)).start()
    for _ in range(50):
        os.close(os.open(paths[0], os.O_RDONLY))
    begin.set()
    threading.Event().wait()


main(*sys.argv[1:])
