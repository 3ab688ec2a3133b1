"""Prints the owners of files, and what becomes of attempts to give them away, in a user namespace of one's own.

owners.py FOLDER: as an ordinary user, who is root in there.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

from identities import USER, become

IDS = ((0, 0), (0, -1), (-1, 0), (-1, -1), (USER, -1), (-1, USER), (1, 1))


def show(call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    try:
        result = call(*args, **kwargs)
    except OSError as error:
        result = error.strerror
    if isinstance(result, os.stat_result):
        result = result.st_uid, result.st_gid
    print(call.__name__, args, kwargs, result)


os.chdir(sys.argv[1])
become("namespace mapped")
for name in sorted(os.listdir(".")):
    show(os.stat, name)
    show(os.stat, name, follow_symlinks=False)
    for uid, gid in IDS:
        show(os.chown, name, uid, gid)
        show(os.chown, name, uid, gid, follow_symlinks=False)
with open("mine", "r+") as mine:
    print(os.fstat(mine.fileno()).st_uid)
    for uid, gid in IDS:
        try:
            os.fchown(mine.fileno(), uid, gid)
        except OSError as error:
            print("fchown", uid, gid, error.strerror)
    print(os.fstat(mine.fileno()).st_uid)
with open("made", "w"):
    pass
show(os.stat, "made")
