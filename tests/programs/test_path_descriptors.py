"""Descriptors with O_PATH, which the broker cannot inject."""

from __future__ import annotations

import os

import pytest

from .harness import Pair, Place, fill_standard

WORDS = """
import fcntl, os
os.chdir(os.environ["DRIVE"])
for path in ("hello.txt", "sub", "sub/", "sub//", ".", "..", "sub/.", "sub/..", "sub/deep/../deep", "sub/link",
             "./into/.", os.environ["DRIVE"] + "/sub/../sub/one", os.environ["DRIVE"] + "/."):
    for flags in (0, os.O_DIRECTORY, os.O_NOFOLLOW, os.O_CLOEXEC):
        try:
            file = os.open(path, os.O_PATH | flags)
        except OSError as error:
            print(path, flags, error.strerror)
            continue
        print(path, flags, os.path.samestat(os.fstat(file), os.stat(path)), os.readlink(f"/proc/self/fd/{file}"))
        if path != "sub/link" or flags & os.O_NOFOLLOW:
            print(oct(fcntl.fcntl(file, fcntl.F_GETFL)))
        os.close(file)
"""

LINKED = """
import errno, os, time
os.chdir(os.environ["DRIVE"])
waiting = os.fork()
if not waiting:
    os.open("fifo", os.O_WRONLY)
    os._exit(0)
time.sleep(0.3)
for name in ("to file", "to folder", "to fifo", "to device"):
    try:
        file = os.open(name, os.O_PATH)
        print(name, os.fstat(file).st_mode, os.listdir(file) if "folder" in name else os.read(file, 100))
    except OSError as error:
        print(name, errno.errorcode[error.errno])
time.sleep(0.3)
print(os.waitpid(waiting, os.WNOHANG)[0])
os.kill(waiting, 9)
"""


def test_words(pair: Pair) -> None:
    """Wherever the program's own string ends in a word for the file, the descriptor is a true one."""
    pair.run(["python3", "-c", WORDS])


@pytest.mark.usefixtures("drive_only")
def test_what_stands_in_for_them(pair: Pair) -> None:
    """Through a symlink, what can be read is complete; what an open would do something to is refused."""

    def setup(place: Place) -> None:
        fill_standard(place)
        os.mkfifo(place.drive / "fifo")
        (place.drive / "folder").mkdir()
        (place.drive / "folder/inside").touch()
        for name, target in (("file", "hello.txt"), ("folder", "folder"), ("fifo", "fifo"), ("device", "device")):
            (place.drive / f"to {name}").symlink_to(target)
        if os.geteuid() == 0:
            os.mknod(place.drive / "device", 0o20666, os.makedev(1, 5))

    _, drive = pair.outcomes(["python3", "-c", LINKED], setup=setup, seconds=30)
    assert drive.stdout.splitlines() == [
        "to file 33188 b'hello\\n'",
        "to folder 16877 ['inside']",
        "to fifo EACCES",
        f"to device {'EACCES' if os.geteuid() == 0 else 'ENOENT'}",
        "0",
    ], drive.stderr
