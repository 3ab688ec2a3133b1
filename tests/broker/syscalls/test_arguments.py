"""What the kernel says of arguments other than the path, asked for a call of our own."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any, cast

import pytest

from broker.kernel import native
from broker.kernel.lane import Trapped
from broker.kernel.tracee import AT_FDCWD, Credentials
from broker.syscalls.arguments import verdict
from broker.syscalls.call import Call, Services
from broker.syscalls.reply import Fail, Return
from broker.table import TABLE

_UTIME_OMIT = (1 << 30) - 2


def _call(name: str, *arguments: int) -> Call:
    row = next(row for row in TABLE if row.name == name)
    padded = cast(Any, (*arguments, 0, 0, 0, 0, 0, 0)[:6])
    trapped = Trapped(1, os.getpid(), native.AUDIT_ARCH_X86_64, row.x86_64 or 0, padded, (b"x",))
    services = type("Services", (), {"credentials": Credentials()})
    return Call(trapped, row, cast(Services, services))


def _words(*values: int) -> Any:
    return (ctypes.c_uint64 * len(values))(*values)


def test_a_flag_that_does_not_exist_is_refused() -> None:
    """However wrong the path is."""
    assert verdict(_call("unlinkat", AT_FDCWD, 0, 0x40000)) == Fail(errno.EINVAL)
    assert verdict(_call("unlinkat", AT_FDCWD, 0, 0x200)) is None


def test_times_that_are_both_left_out_are_a_success() -> None:
    """utimensat(2) does not look at the path then."""
    times = _words(0, _UTIME_OMIT, 0, _UTIME_OMIT)
    assert verdict(_call("utimensat", AT_FDCWD, 0, ctypes.addressof(times), 0)) == Return(0)


@pytest.mark.parametrize(("flags", "wanted"), [(0, None), (1 << 40, Fail(errno.EINVAL))])
def test_a_longer_open_how_is_read_no_further_than_it_was_copied(flags: int, wanted: Fail | None) -> None:
    """The size that the program gave may go beyond what the broker has; what lies there is not looked at."""
    how = _words(flags, 0, 0, 0)
    assert verdict(_call("openat2", AT_FDCWD, 0, ctypes.addressof(how), 4000)) == wanted


def test_a_bad_pointer_is_efault() -> None:
    """As the kernel would have said of the program's own."""
    assert verdict(_call("utimensat", AT_FDCWD, 0, 8, 0)) == Fail(errno.EFAULT)
