"""The filter traps what the table says, and nothing else."""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pyseccomp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter import run

from broker.kernel import native
from broker.table import RANGE_END, RANGE_START, REFUSED, SOCKET_CALLS, TABLE, Row, Trap
from launcher import bpf, filter
from launcher.bpf import ALLOW, AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, NOTIFY

ENOSYS = 0x50000 | errno.ENOSYS
COOKIE = (0x89ABCDEF, 0x01234567)
WORD = COOKIE[0] | COOKIE[1] << 32
PROGRAM = filter.compiled(TABLE, COOKIE)
ARCHES = {"x86_64": AUDIT_ARCH_X86_64, "i386": AUDIT_ARCH_I386}
CALLS = [(row, arch) for row in TABLE for arch in ARCHES if getattr(row, arch) is not None]

descriptors = st.one_of(
    st.sampled_from([0, 5, 767, RANGE_START, RANGE_END, 1024, 0xFFFFFFFF]), st.integers(0, 0xFFFFFFFF)
)
words = st.integers(0, 2**64 - 1)


def trapped(row: Row, arguments: tuple[int, ...]) -> bool:
    """The specification: when a call is to be trapped, apart from the cookie."""

    def ranged(argument: int | None) -> bool:
        return argument is not None and RANGE_START <= arguments[argument] & 0xFFFFFFFF <= RANGE_END

    if row.trap is Trap.RANGED:
        return ranged(row.fd) or ranged(row.other_fd)
    if row.trap is Trap.SIGNAL_ACTION:
        return arguments[0] & 0xFFFFFFFF == 17 and arguments[1] != 0
    if row.trap is Trap.SOCKET_CALL:
        return arguments[0] & 0xFFFFFFFF in SOCKET_CALLS
    return True


def verdict(row: Row, arch: str, *arguments: int) -> int:
    mask = 0xFFFFFFFF if arch == "i386" else 2**64 - 1  # registers of 32 bits are zero-extended
    padded = tuple(value & mask for value in (*arguments, *[0] * (6 - len(arguments))))
    return run(PROGRAM, getattr(row, arch), ARCHES[arch], padded)


@pytest.mark.parametrize(("row", "arch"), CALLS, ids=lambda value: getattr(value, "name", value))
@settings(max_examples=40)
@given(
    arguments=st.tuples(
        st.one_of(descriptors, st.sampled_from([17, *SOCKET_CALLS])), st.one_of(descriptors, words), *[words] * 4
    )
)
def test_each_call_is_trapped_as_the_table_says(row: Row, arch: str, arguments: tuple[int, ...]) -> None:
    """With any arguments, junk in the upper halves of integers included; and never with the cookie."""
    mask = 0xFFFFFFFF if arch == "i386" else 2**64 - 1
    arguments = tuple(value & mask for value in arguments)
    junk = (arguments[0] | 0xDEAD << 32 if arch == "x86_64" else arguments[0], *arguments[1:5], 0)
    assert (verdict(row, arch, *junk) == NOTIFY) is trapped(row, junk)
    assert verdict(row, arch, *arguments[:5], WORD) == ALLOW


@pytest.mark.parametrize(("low", "high"), [(COOKIE[0], 0), (0, COOKIE[1]), (COOKIE[0] ^ 1, COOKIE[1])])
def test_half_a_cookie_is_none(low: int, high: int) -> None:
    """On x86-64 all 64 bits have to be known."""
    openat = next(row for row in TABLE if row.name == "openat")
    assert verdict(openat, "x86_64", 0, 0, 0, 0, 0, low | high << 32) == NOTIFY


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("close", (-1,), ALLOW),
        ("close", (5,), ALLOW),
        ("close", (767,), ALLOW),
        ("close", (768,), NOTIFY),
        ("close", (1023,), NOTIFY),
        ("close", (1024,), ALLOW),
        ("close", (768 + 2**31,), ALLOW),
        ("dup2", (1, 800), NOTIFY),
        ("dup2", (800, 1), NOTIFY),
        ("dup2", (1, 2), ALLOW),
        ("dup3", (1, 800), NOTIFY),
        ("fcntl", (3, 800), ALLOW),
        ("rt_sigaction", (17, 0), ALLOW),
        ("rt_sigaction", (17, 2**40), NOTIFY),
        ("rt_sigaction", (2, 2**40), ALLOW),
        ("openat", (-100, 0), NOTIFY),
    ],
)
def test_calls_by_hand(name: str, arguments: tuple[int, ...], result: int) -> None:
    """The boundaries of the range and of the signal rule, spelt out."""
    row = next(row for row in TABLE if row.name == name)
    assert verdict(row, "x86_64", *arguments) == result


def test_only_the_socket_calls_with_an_address_that_may_be_a_path() -> None:
    """A 32-bit program's bind and connect; its socket, listen, send and receive run natively."""
    row = next(row for row in TABLE if row.name == "socketcall")
    assert [call for call in range(25) if verdict(row, "i386", call, 2**20) == NOTIFY] == [2, 3]


@pytest.mark.parametrize("arch", ARCHES)
def test_every_other_number_is_allowed(arch: str) -> None:
    """Whatever is not in the table runs natively: no number slips in by a mistake in a jump."""
    known = {getattr(row, arch) for row in TABLE} | {entry[1 if arch == "x86_64" else 2] for entry in REFUSED}
    for number in {*range(1024), 0xFFFFFFFF} - known:
        arguments = (RANGE_START, RANGE_START, 0, 0, 0, 0)
        assert run(PROGRAM, struct.unpack("<i", struct.pack("<I", number))[0], ARCHES[arch], arguments) == ALLOW


@pytest.mark.parametrize("arch", ARCHES)
def test_what_would_walk_around_the_filter_is_not_there(arch: str) -> None:
    """io_uring, the x32 entry and foreign architectures say ENOSYS instead of killing with SIGSYS."""
    for _, x86_64, i386 in REFUSED:
        assert run(PROGRAM, x86_64 if arch == "x86_64" else i386, ARCHES[arch], (0,) * 6) == ENOSYS
    for number in (0x40000000, 0x40000000 + 257):
        assert run(PROGRAM, number, ARCHES[arch], (0,) * 6) == ENOSYS
    assert run(PROGRAM, 257, 0xC00000B7, (0,) * 6) == ENOSYS  # AUDIT_ARCH_AARCH64


def test_joining_wants_what_libseccomp_exports() -> None:
    """A program of another shape is refused, not mangled."""
    with pytest.raises(ValueError, match="does not begin"):
        bpf.join([bpf.Instruction(bpf.RETURN, 0, 0, NOTIFY)] * 2, [], COOKIE)


@given(st.binary(max_size=80).map(lambda data: data[: len(data) // 8 * 8]))
def test_parsing_and_assembling_are_inverse(program: bytes) -> None:
    """Nothing of an instruction is lost."""
    assert bpf.assemble(bpf.parse(program)) == program


@pytest.mark.parametrize(("row", "arch"), CALLS, ids=lambda value: getattr(value, "name", value))
def test_the_numbers_of_the_table(row: Row, arch: str) -> None:
    """As libseccomp and the kernel's headers know them, under the names of either."""
    number = getattr(row, arch)
    header = _header("64" if arch == "x86_64" else "32")
    name = KERNEL_NAMES.get((row.name, arch), row.name)
    if header and number <= max(header.values()):
        assert header[name] == number
    architecture = pyseccomp.Arch.X86_64 if arch == "x86_64" else pyseccomp.Arch.X86
    resolved = pyseccomp.resolve_syscall(architecture, name)
    assert resolved == number or resolved < 0  # negative: unknown to it, or also reached through socketcall


KERNEL_NAMES = {
    ("fanotify_mark_i386", "i386"): "fanotify_mark",
    ("chown", "i386"): "chown32",
    ("lchown", "i386"): "lchown32",
    ("fchown", "i386"): "fchown32",
    ("chown16", "i386"): "chown",
    ("lchown16", "i386"): "lchown",
    ("fchown16", "i386"): "fchown",
    ("setgroups", "i386"): "setgroups32",
    ("setgroups16", "i386"): "setgroups",
}


def _header(bits: str) -> dict[str, int]:
    for folder in ("/usr/include/x86_64-linux-gnu/asm", "/usr/include/asm"):
        path = Path(folder) / f"unistd_{bits}.h"
        if path.exists():
            return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", path.read_text())}
    return {}


def in_child(body: Callable[[], int]) -> int:
    """The exit status of a child that runs `body`."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(body())
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_kernel_takes_the_program() -> None:
    """It is installed, allowed calls run, io_uring is refused; privileged processes keep their new privileges."""

    def body() -> int:
        listener, _ = filter.install(PROGRAM)
        os.close(listener)
        try:
            native.call(native.AUDIT_ARCH_X86_64, REFUSED[0][1], (1, bytearray(120)))
        except OSError as error:
            if error.errno != errno.ENOSYS:
                return 1
        with_privilege = os.geteuid() == 0
        no_new_privs = native.call(native.AUDIT_ARCH_X86_64, 157, (39, 0, 0, 0, 0))
        return 0 if bool(no_new_privs) is not with_privilege else 2

    assert in_child(body) == 0


def test_a_second_listener_is_explained() -> None:
    """The kernel allows one listener for a process; the message says so, not EBUSY."""

    def body() -> int:
        filter.install(PROGRAM)
        try:
            filter.install(PROGRAM)
        except filter.FilterError as error:
            return 0 if "already under a seccomp filter with a listener" in str(error) else 1
        return 2

    assert in_child(body) == 0


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EINVAL, "Linux 5.9 or newer"),
        (errno.EPERM, "allow seccomp"),
        (errno.EACCES, "allow seccomp"),
        (errno.ENOMEM, "run seccomp-drive check"),
    ],
)
def test_refusals_say_what_to_do(monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    """Whatever errno the kernel or a sandbox gives becomes advice."""

    def seccomp(operation: int, flags: int, program: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(filter.native, "seccomp", seccomp)
    monkeypatch.setattr(filter.native, "call", lambda *_: 0)
    with pytest.raises(filter.FilterError, match=words):
        filter.install(PROGRAM)


def test_kernels_without_wait_killable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 5.19 the flag is EINVAL: the filter is installed without it, and that is told."""

    def seccomp(operation: int, flags: int, program: bytes) -> int:
        if flags & 32:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return 7

    monkeypatch.setattr(filter.native, "seccomp", seccomp)
    assert filter.install(PROGRAM) == (7, False)
