"""Compiled programs of every kind: static, Go, without a C library, 32-bit, with io_uring, with many threads."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from .conftest import Build
from .harness import Pair, Place, bash, fill_standard

STATIC = ("-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie")


def test_go(pair: Pair, build: Build) -> None:
    """200 goroutines walk, read and write while SIGURG interrupts them all the time: no call fails or is lost."""
    if not shutil.which("go"):
        pytest.skip("needs golang-go")
    program = build("walker.go")
    for _ in range(2):
        pair.run(bash(f'mkdir "$DRIVE/go"; {program} "$DRIVE/go"'), seconds=100)


def test_go_beside_local_files(pair: Pair, build: Build) -> None:
    """The same program on the local disk under `exec`, where the lane answers."""
    if not shutil.which("go"):
        pytest.skip("needs golang-go")
    pair.run(bash(f'mkdir go; {build("walker.go")} "$LOCAL/go"'))


def test_without_a_c_library(pair: Pair, build: Build) -> None:
    """open, openat and creat made directly, absolute, through a descriptor and relative."""
    program = build("raw.c", *STATIC)
    pair.run(bash(f'{program} "$DRIVE" "$DRIVE/open" "$DRIVE/creat"; cd "$DRIVE/sub"; {program} . o ../c'))


@pytest.mark.parametrize("flags", [("-m64",), ("-m64", "-static"), ("-m32",), ("-m32", "-static")], ids="-".join)
def test_c_library(pair: Pair, build: Build, flags: tuple[str, ...]) -> None:
    """The C library's functions, through the system calls that 64-bit and 32-bit programs use for them."""
    try:
        program = build("files.c", *flags, "-D_FILE_OFFSET_BITS=64")
    except subprocess.CalledProcessError:
        pytest.skip("needs gcc-multilib")
    pair.run(bash(f'{program} "$DRIVE"; cd "$DRIVE/sub"; {program} .'), links=True)


def test_32_bit_program_on_the_drive(pair: Pair, build: Build) -> None:
    """A 32-bit program that lies on the drive and calls a 64-bit one, without large-file support."""
    try:
        program = build("files.c", "-m32")
    except subprocess.CalledProcessError:
        pytest.skip("needs gcc-multilib")

    def setup(place: Place) -> None:
        fill_standard(place)
        shutil.copy(program, place.drive / "program")

    pair.run(bash('cd "$DRIVE"; ./program sub; "$DRIVE/program" "$DRIVE"'), setup=setup)


ON_A_DRIVE = """\
bind: EOPNOTSUPP
listen: EINVAL
connect: EOPNOTSUPP
send: ENOTCONN
bind again: EOPNOTSUPP
bind datagram: EOPNOTSUPP
sendto: ENOENT
recv: EAGAIN
connect missing: EOPNOTSUPP
"""


@pytest.mark.parametrize("flags", [("-m64",), ("-m32",), ("-m32", "-DMULTIPLEXED")], ids="".join)
def test_sockets(pair: Pair, build: Build, flags: tuple[str, ...]) -> None:
    """Off the drive sockets of all kinds work as natively; on it a path is refused, however the call is made."""
    try:
        program = build("sockets.c", *flags)
    except subprocess.CalledProcessError:
        pytest.skip("needs gcc-multilib")
    pair.run([str(program), "."])
    if not pair.native_twice:
        _, drive = pair.outcomes([str(program), pair.prefix], setup=fill_standard, seconds=30)
        assert drive.stdout.startswith(ON_A_DRIVE)


def test_io_uring_is_not_a_way_around(pair: Pair, build: Build) -> None:
    """A program that prefers io_uring is told that there is none, and falls back to calls that reach the drive."""
    pair.run([str(build("ring.c")), f"{pair.prefix}/hello.txt"])


def test_two_hundred_threads(pair: Pair, build: Build) -> None:
    """200 threads of one process open, write, read, rename and remove at once; each finds its own content."""
    outcome = pair.run(bash(f'mkdir "$DRIVE/t"; {build("threads.c", "-pthread")} "$DRIVE/t"'), seconds=100)
    assert outcome.stdout == "0 failures\n"
