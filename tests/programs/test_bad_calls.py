"""Calls that cannot succeed: the errno that the kernel would have given; and drives that take no changes."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from .conftest import SOURCES, Build
from .harness import Pair, bash, fill_standard
from .sides import Mount


@pytest.mark.parametrize("width", ["-m64", "-m32"])
@pytest.mark.parametrize("where", ["absolute", "relative"])
def test_bad_arguments(pair: Pair, build: Build, width: str, where: str) -> None:
    """Bad pointers, lengths, flags and descriptors, and no descriptor left, in 64-bit and 32-bit programs."""
    try:
        program = build("bad_calls.c", width, "-D_FILE_OFFSET_BITS=64", "-w")
    except subprocess.CalledProcessError:
        pytest.skip("needs gcc-multilib")
    pair.run(bash(f'{program} "$DRIVE"' if where == "absolute" else f'cd "$DRIVE"; {program} .'))


@pytest.mark.parametrize("where", ["absolute", "relative"])
def test_read_only(pair: Pair, where: str) -> None:
    """EROFS from every call that would change a read-only drive, in the kernel's order of precedence."""
    pair = replace(pair, mounts=(Mount(pair.prefix, read_only=True),))
    program = f"python3 {SOURCES}/changes.py"
    pair.run(bash(f'{program} "$DRIVE"' if where == "absolute" else f'cd "$DRIVE"; {program} .'))


def test_the_same_calls_when_writable(pair: Pair) -> None:
    """The same calls on a drive that takes changes."""
    pair.run(["python3", str(SOURCES / "changes.py"), pair.prefix])


def test_programs_on_a_read_only_drive(pair: Pair) -> None:
    """What programs say of a read-only drive, which they can read and run as always."""
    pair = replace(pair, mounts=(Mount(pair.prefix, read_only=True),))
    pair.run(
        bash("""cd "$DRIVE"; cat hello.txt; echo x > new || :; echo x >> hello.txt || :; touch hello.txt || :
        rm hello.txt || :
            mv sub moved || :; mkdir new || :; cp hello.txt "$LOCAL"; mv sub/one "$LOCAL" || :
            sed -i s/h/H/ hello.txt 2> /dev/null || :; ls -A
            test -w hello.txt || echo not writable; chmod 600 empty || :; ln hello.txt hard || :
            python3 -c 'import sys' """)
    )


@pytest.mark.parametrize("where", ["absolute", "relative"])
def test_rare_forms(pair: Pair, where: str) -> None:
    """linkat(2) of what has no name, stat without a path, renameat2(2) with slashes."""
    program = f"python3 {SOURCES}/rare_forms.py"
    pair.run(bash(f'{program} "$DRIVE"' if where == "absolute" else f'cd "$DRIVE"; {program} .'))


LACKING = """
import ctypes, errno, os, socket
def say(what, call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        print(what, errno.errorcode[error.errno])
os.chdir(os.environ["DRIVE"])
say("O_TMPFILE", os.open, ".", os.O_TMPFILE | os.O_RDWR)
for path in ("socket", os.environ["DRIVE"] + "/socket"):
    say("bind", socket.socket(socket.AF_UNIX).bind, path)
say("trusted", os.setxattr, "hello.txt", "trusted.x", b"")
libc = ctypes.CDLL(None, use_errno=True)
for number in (428, 467, 433, 442):  # open_tree(2) and its kin
    for path in (b".", b"sub/../sub", os.environ["DRIVE"].encode()):
        print(number, libc.syscall(number, -100, path, 0, None, 0), errno.errorcode[ctypes.get_errno()])
    print(libc.syscall(number, -100, os.environ["XDG_CACHE_HOME"].encode() + b"/seccomp-drive/mirrors", 0, None, 0))
    print(errno.errorcode[ctypes.get_errno()])
print(os.listdir("sub/none"), os.path.lexists("socket"))
"""


@pytest.mark.usefixtures("drive_only")
def test_what_a_drive_lacks(pair: Pair) -> None:
    """Nameless files, sockets, mounts and attributes outside `user.` get EOPNOTSUPP, so that programs fall back."""
    _, drive = pair.outcomes(["python3", "-c", LACKING], setup=fill_standard, seconds=30)
    assert drive.stdout.splitlines() == [
        *(f"{what} ENOTSUP" for what in ("O_TMPFILE", "bind", "bind", "trusted")),
        *(line for number in (428, 467, 433, 442) for line in (*[f"{number} -1 ENOTSUP"] * 3, "-1", "EACCES")),
        "[] False",
    ]
