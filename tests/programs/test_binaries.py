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


def test_flags_of_execveat(pair: Pair, build: Build) -> None:
    """Links are followed or not, descriptors run, what is only checked is not run, unknown flags are refused."""
    program = build("exec_flags.c")

    def setup(place: Place) -> None:
        fill_standard(place)
        for name in ("program", "other", "replaced", "removed", "closed"):
            shutil.copy(shutil.which("echo") or "", place.drive / name)
        (place.drive / "closed").chmod(0o644)
        (place.drive / "script").write_text("#!/bin/sh\necho of a script\n")
        (place.drive / "script").chmod(0o755)
        for name, target in (("link", "program"), ("to script", "script"), ("dangling", "none"), ("loop", "loop")):
            (place.drive / name).unlink(missing_ok=True)
            (place.drive / name).symlink_to(target)

    pair.run([str(program), pair.prefix], setup=setup, opaque=("program", "other", "replaced", "closed"))


SCRIPTS = """
import errno, os, sys
for folder in (os.environ["DRIVE"], os.environ["LOCAL"]):
    os.chdir(folder)
    for script in ("own", "round", *(f"s{depth}" for depth in range(8)), "to none", "to closed"):
        sys.stdout.flush()
        child = os.fork()
        if not child:
            try:
                os.execv(f"./{script}", [script, "word"])
            except OSError as error:
                print(script, errno.errorcode[error.errno], flush=True)
                os._exit(1)
        print(script, os.waitpid(child, 0)[1])
"""


def test_scripts_of_scripts(pair: Pair) -> None:
    """As deep as the kernel goes, on the drive, on the local disk and from one to the other; ELOOP beyond."""

    def setup(place: Place) -> None:
        fill_standard(place)
        for folder, shown, other in (
            (place.drive, pair.prefix, str(place.work)),
            (place.work, str(place.work), pair.prefix),
        ):
            lines = {f"s{depth}": f"{other if depth % 2 else shown}/s{depth - 1}" for depth in range(1, 8)}
            lines |= {"s0": "/bin/echo 0", "own": f"{shown}/own", "round": f"{other}/round"}
            lines |= {"to none": f"{shown}/none", "to closed": f"{shown}/closed", "closed": "/bin/echo"}
            for name, line in lines.items():
                (folder / name).write_text(f"#!{line}\n")
                (folder / name).chmod(0o755 if name != "closed" else 0o644)

    pair.run(["/usr/bin/python3", "-c", SCRIPTS], setup=setup)


LOADED = """
d="$DRIVE"
"$d/program" a || echo $?
"$LOCAL/program" b || echo $?
"$LOCAL/script" || echo $?
"$d/absent" || echo $?
"$d/forbidden" || echo $?
"$d/ld.so" "$d/program" c
"$d/ld.so" "$LOCAL/program" d
"$LOCAL/ordinary" e
"""


def test_an_elf_interpreter_on_the_drive(pair: Pair, build: Build) -> None:
    """The kernel would open it without a call: what names it is refused, and told what to do, which works."""
    ordinary = build("arguments.c")
    named = {name: build("arguments.c", f"-Wl,--dynamic-linker={pair.prefix}/{name}") for name in ("ld.so", "none")}

    def setup(place: Place) -> None:
        shutil.copy("/lib64/ld-linux-x86-64.so.2", place.drive / "ld.so")
        for name, made in (("program", named["ld.so"]), ("absent", named["none"]), ("forbidden", named["ld.so"])):
            shutil.copy(made, place.drive / name)
        shutil.copy(ordinary, place.work / "ordinary")
        shutil.copy(named["ld.so"], place.work / "program")
        (place.work / "script").write_text(f"#!{place.work}/program\n")
        (place.work / "script").chmod(0o755)
        (place.drive / "forbidden").chmod(0o644)

    plain, drive = pair.outcomes(["bash", "-c", LOADED], setup=setup, seconds=30)
    d, local = pair.prefix, str(pair.base / "work")
    last = f"127\n126\n{d}/program c\n{local}/program d\n{local}/ordinary e\n"
    assert plain.stdout == f"{d}/program a\n{local}/program b\n{local}/program {local}/script\n" + last
    if not pair.native_twice:
        assert drive.stdout == "126\n" * 3 + last
        advice = [line for line in drive.stderr.splitlines() if line.startswith("seccomp-drive: ")]
        assert advice == [
            f"seccomp-drive: {program} cannot be run: its ELF interpreter {d}/ld.so is on a drive, where the kernel "
            f"does not find it; run `{d}/ld.so {program}`, or name one on the local disk (patchelf --set-interpreter)"
            for program in (f"{d}/program", f"{local}/program")
        ]
        assert drive.stderr.count("Can not access a needed shared library") == 3


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
