"""What the operating system says becomes what a remote says, in one place."""

from __future__ import annotations

import errno

import pytest

from broker.remotes import protocol
from broker.remotes.oserrors import remote_error

EXPECTED = {
    errno.ENOENT: protocol.NotFound,
    errno.ENOTDIR: protocol.NotADirectory,
    errno.EACCES: protocol.Forbidden,
    errno.EPERM: protocol.Forbidden,
    errno.EROFS: protocol.ReadOnly,
    errno.ENOSPC: protocol.NoSpace,
    errno.EDQUOT: protocol.OverQuota,
    errno.EFBIG: protocol.TooLarge,
    errno.ENAMETOOLONG: protocol.NameTooLong,
    errno.EXDEV: protocol.CrossDevice,
    errno.EOPNOTSUPP: protocol.Unsupported,
    errno.ESTALE: protocol.Unavailable,
    errno.EIO: protocol.Unavailable,
    errno.ENOTCONN: protocol.Unavailable,
    errno.ETIMEDOUT: protocol.Unavailable,
    errno.EMFILE: protocol.Unavailable,
}


@pytest.mark.parametrize("number", EXPECTED)
def test_each_errno_has_its_error(number: int) -> None:
    """What may pass is Unavailable; the rest says why."""
    error = remote_error(OSError(number, "said"), b"a/\xff")
    assert type(error) is EXPECTED[number]
    assert error.path == b"a/\xff"


def test_an_error_without_a_number() -> None:
    """It is Unavailable, and keeps its words."""
    error = remote_error(OSError("strange"), b"a")
    assert type(error) is protocol.Unavailable and "strange" in str(error)
