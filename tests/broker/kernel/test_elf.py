"""PT_INTERP is read as fs/binfmt_elf.c reads it: where one is found that does not exist, execve is ENOENT."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.kernel import native

MISSING = b"/nowhere/at/all/ld.so"
SOURCE = 'void _start(void) { __asm__ volatile("int $0x80" : : "a"(1), "b"(7)); }'


@pytest.fixture(scope="module", params=["-m64", "-m32"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A program without a C library that names MISSING as its interpreter; exits with 7 without one."""
    made = tmp_path_factory.mktemp("elf") / "program"
    flags = [request.param, "-nostdlib", "-fPIE", "-pie", f"-Wl,--dynamic-linker={MISSING.decode()}"]
    subprocess.run(["gcc", *flags, "-x", "c", "-o", made, "-"], input=SOURCE.encode(), check=True)
    return made.read_bytes()


def found(folder: Path, content: bytes) -> tuple[bytes, int]:
    """What we find, and the errno of execve, or else 0."""
    path = folder / "program"
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    file = os.open(path, os.O_RDONLY)
    try:
        interpreter = native.elf_interpreter(file)
    finally:
        os.close(file)
    try:
        subprocess.run([path], stderr=subprocess.DEVNULL)
    except OSError as error:
        return interpreter, error.errno or 0
    return interpreter, 0


def same(content: bytes) -> bytes:
    return content


def unterminated(content: bytes) -> bytes:
    return content.replace(MISSING + b"\0", MISSING + b"x")


def other_type(content: bytes) -> bytes:
    """The program header is another's, so that there is no interpreter."""
    size, where = (56, 64) if content[4] == 2 else (32, 52)
    at = next(at for at in range(where, 1000, size) if content[at : at + 4] == b"\3\0\0\0")
    return content[:at] + b"\0" + content[at + 1 :]


def cut(content: bytes) -> bytes:
    return content[: content.index(MISSING) + 4]


@pytest.mark.parametrize(
    ("changed", "interpreter", "error"),
    [
        (same, MISSING, errno.ENOENT),
        (unterminated, b"", errno.ENOEXEC),
        (other_type, b"", 0),
        (cut, b"", errno.EIO),
        (lambda content: b"", b"", errno.ENOEXEC),
        (lambda content: b"#!/bin/true\n", b"", 0),
    ],
    ids=["same", "unterminated", "none", "cut", "empty", "script"],
)
def test_it_is_read_as_the_kernel_reads_it(
    tmp_path: Path, program: bytes, changed: Callable[[bytes], bytes], interpreter: bytes, error: int
) -> None:
    """There is one where the kernel would open it, and none where it would refuse the program before."""
    assert found(tmp_path, changed(program)) == (interpreter, error)


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_head(
    tmp_path_factory: pytest.TempPathFactory, program: bytes, changes: list[tuple[int, int]]
) -> None:
    """Whatever stands in the headers, it ends, with a path or with none."""
    damaged = bytearray(program)
    for at, value in changes:
        damaged[at] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged)
    file = os.open(path, os.O_RDONLY)
    try:
        assert len(native.elf_interpreter(file)) < 4096
    finally:
        os.close(file)
