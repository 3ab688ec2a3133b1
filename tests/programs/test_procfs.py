"""What the broker learns of a program's folders and files from procfs, where that is easily mistaken."""

from __future__ import annotations

import pytest

from .harness import Pair, bash

MARKED = {
    "folders": """
        cd "$DRIVE"; mkdir p "p (deleted)"; echo in p > p/f; echo in the other > "p (deleted)/f"
        cd "p (deleted)"; pwd -P; cat f; chmod 600 f; rm f; echo new > new; mkdir "$DRIVE/alone (deleted)"
        cd "$DRIVE/alone (deleted)"; echo z > z; cat z /proc/self/cwd/z; readlink /proc/self/cwd
        exec 5< "$DRIVE/p (deleted)"; ls /dev/fd/5/; cat ../p/f; rmdir "$DRIVE/alone (deleted)" || : """,
    "files": """
        cd "$DRIVE"; printf one > "n (deleted)"; echo other > n; exec 5< "n (deleted)"
        cat /proc/self/fd/5; readlink /proc/self/fd/5; stat -L -c %s /dev/fd/5; chmod 600 /dev/fd/5
        python3 -c '
import os
file = os.open("n (deleted)", os.O_RDWR)
os.fchmod(file, 0o640), os.setxattr(file, "user.a", b"v"), os.write(file, b"two"), os.fsync(file), os.close(file)
folder = os.open("sub", os.O_RDONLY)
os.rename("sub", "sub (deleted)"), os.mkdir("sub")
os.close(os.open("made", os.O_CREAT | os.O_WRONLY, dir_fd=folder)), os.mkdir("folder", dir_fd=folder)
print(sorted(os.listdir("sub (deleted)")), os.listdir("sub"))' """,
    "removed": """
        cd "$DRIVE"; mkdir "r (deleted)" r; cd "r (deleted)"; rmdir "../r (deleted)"; ls; readlink /proc/self/cwd
        echo x > x || :; ls "$DRIVE/r" """,
}


@pytest.mark.parametrize("what", MARKED)
def test_a_name_that_ends_like_the_mark_of_a_lost_one(pair: Pair, what: str) -> None:
    """`NAME (deleted)` is a name like any other, also beside `NAME`."""
    pair.run(bash(MARKED[what]))
