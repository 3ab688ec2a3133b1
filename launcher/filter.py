"""The seccomp filter: derived from the table of system calls, compiled by libseccomp, installed by seccomp(2)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from msgspec import Struct

from broker.kernel import native
from broker.table import RANGE_MASK, RANGE_START, REFUSED, SIGCHLD, SOCKET_CALLS, Row, Trap
from launcher import bpf

SECCOMP_SET_MODE_FILTER = 1
NEW_LISTENER = 8
WAIT_KILLABLE_RECV = 32
_PRCTL = 157
_PR_SET_NO_NEW_PRIVS = 38
_INT = 0xFFFFFFFF  # the kernel ignores the upper half of a register that holds an int; so do we

Architecture = Literal["x86_64", "i386"]


class FilterError(Exception):
    """The filter cannot be installed; the message says what to do."""


class Condition(NamedTuple):
    """A comparison of one argument, in libseccomp's words: NE (value) or MASKED_EQ (mask, value)."""

    argument: int
    operator: Literal["NE", "MASKED_EQ"]
    operands: tuple[int, ...]


class Rule(Struct, frozen=True):
    """A system call that is trapped, or refused with ENOSYS, when all conditions hold."""

    number: int
    conditions: tuple[Condition, ...] = ()
    refused: bool = False


def rules(table: Iterable[Row], architecture: Architecture) -> Iterator[Rule]:
    """What the filter does with the calls of `table` and REFUSED; every other call is allowed."""
    for row in table:
        number: int | None = getattr(row, architecture)
        if number is None:
            continue
        if row.trap is Trap.RANGED:
            for argument in (row.fd, row.other_fd):
                if argument is not None:
                    yield Rule(number, (Condition(argument, "MASKED_EQ", (RANGE_MASK, RANGE_START)),))
        elif row.trap is Trap.SIGNAL_ACTION:
            yield Rule(number, (Condition(0, "MASKED_EQ", (_INT, SIGCHLD)), Condition(1, "NE", (0,))))
        elif row.trap is Trap.SOCKET_CALL:
            for call in SOCKET_CALLS:
                yield Rule(number, (Condition(0, "MASKED_EQ", (_INT, call)),))
        else:
            yield Rule(number)
    for _, x86_64, i386 in REFUSED:
        yield Rule(x86_64 if architecture == "x86_64" else i386, refused=True)


def compiled(table: Iterable[Row], cookie: tuple[int, int]) -> bytes:
    """The program for seccomp(2), an array of struct sock_filter. FilterError without libseccomp."""
    x86_64, i386 = (_exported(rules(table, architecture)) for architecture in ("x86_64", "i386"))
    return bpf.assemble(bpf.join(bpf.parse(x86_64), bpf.parse(i386), cookie))


def _exported(wanted: Iterable[Rule]) -> bytes:
    try:
        import pyseccomp  # it starts ldconfig twice: 20 ms, spent while the broker gets ready
    except (ImportError, RuntimeError) as error:
        raise FilterError(f"{error}; install libseccomp (Debian: apt install libseccomp2)") from None
    refuse = pyseccomp.ERRNO(errno.ENOSYS)
    program = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    program.set_attr(pyseccomp.Attr.ACT_BADARCH, refuse)  # x32 too; the default would kill with SIGSYS
    program.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, 2)  # a binary tree over the numbers
    for rule in wanted:
        conditions = [pyseccomp.Arg(at, getattr(pyseccomp, how), *with_) for at, how, with_ in rule.conditions]
        program.add_rule_exactly(refuse if rule.refused else pyseccomp.NOTIFY, rule.number, *conditions)
    with open(os.memfd_create("filter"), "w+b") as file:
        program.export_bpf(file)
        file.seek(0)
        return file.read()


def install(program: bytes) -> tuple[int, bool]:
    """Put this thread and all that it will start under `program`: (listener, whether WAIT_KILLABLE_RECV is on).

    no_new_privs is set only where the kernel insists, without CAP_SYS_ADMIN. FilterError.
    """
    try:
        try:
            return _listener(program, NEW_LISTENER | WAIT_KILLABLE_RECV), True
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: the flag is unknown before Linux 5.19
                raise
            return _listener(program, NEW_LISTENER), False
    except OSError as error:
        raise FilterError(_why(error)) from error


def _listener(program: bytes, flags: int) -> int:
    try:
        return native.seccomp(SECCOMP_SET_MODE_FILTER, flags, program)
    except PermissionError:
        native.call(native.AUDIT_ARCH_X86_64, _PRCTL, (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return native.seccomp(SECCOMP_SET_MODE_FILTER, flags, program)


def _why(error: OSError) -> str:
    match error.errno:
        case errno.EBUSY:
            return (
                "this process is already under a seccomp filter with a listener (another seccomp-drive, or a "
                "container manager that intercepts system calls), and the kernel allows one; start from outside it"
            )
        case errno.EACCES | errno.EPERM:
            return "the sandbox around this process forbids seccomp filters; allow seccomp(2) in its profile"
        case errno.EINVAL | errno.ENOSYS:
            return "this kernel cannot hand system calls to a supervisor; Linux 5.9 or newer is needed"
    return f"the seccomp filter was refused: {error.strerror}; run seccomp-drive check"
