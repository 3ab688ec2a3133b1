"""The errno map: what programs see of remote errors, and of surprises."""

from __future__ import annotations

import errno
import logging

import pytest

from broker.errors import errno_of
from broker.remotes import protocol


def _all_remote_errors() -> list[type[protocol.RemoteError]]:
    found, todo = [], [protocol.RemoteError]
    while todo:
        each = todo.pop()
        found.append(each)
        todo += each.__subclasses__()
    return found


@pytest.mark.parametrize("kind", _all_remote_errors())
def test_each_remote_error_has_the_errno_of_its_description(kind: type[protocol.RemoteError]) -> None:
    """The docstring of each error names its errno; the map says the same, and EIO for the rest."""
    told = (kind.__doc__ or "").rpartition("(")[2].partition(")")[0].partition(",")[0]
    wanted = getattr(errno, told, errno.ESTALE if kind is protocol.VersionChanged else errno.EIO)
    assert errno_of(kind(b"a")) == wanted


def test_an_errno_of_the_kernel_passes() -> None:
    """What the replayed call said is what the program sees."""
    assert errno_of(OSError(errno.ENOTEMPTY, "")) == errno.ENOTEMPTY


def test_a_surprise_is_logged_and_is_eio(caplog: pytest.LogCaptureFixture) -> None:
    """Never Continue: the kernel would act on the local disk."""
    with caplog.at_level(logging.ERROR):
        assert errno_of(KeyError("x")) == errno.EIO
    assert "KeyError" in caplog.text
