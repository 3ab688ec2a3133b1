"""The one map from exceptions to errno, and the error that ends a session before it began."""

from __future__ import annotations

import errno
import logging

from broker.remotes import protocol

LOG = logging.getLogger(__name__)

_REMOTE: dict[type[protocol.RemoteError], int] = {
    protocol.NotFound: errno.ENOENT,
    protocol.NotADirectory: errno.ENOTDIR,
    protocol.IsADirectory: errno.EISDIR,
    protocol.AlreadyExists: errno.EEXIST,
    protocol.NotEmpty: errno.ENOTEMPTY,
    protocol.Invalid: errno.EINVAL,
    protocol.Forbidden: errno.EACCES,
    protocol.ReadOnly: errno.EROFS,
    protocol.NoSpace: errno.ENOSPC,
    protocol.OverQuota: errno.EDQUOT,
    protocol.TooLarge: errno.EFBIG,
    protocol.NameTooLong: errno.ENAMETOOLONG,
    protocol.Unsupported: errno.EOPNOTSUPP,
    protocol.CrossDevice: errno.EXDEV,
    protocol.VersionChanged: errno.ESTALE,
    protocol.TimedOut: errno.ETIMEDOUT,
}


class SetupError(Exception):
    """The session cannot start; the message says what to do."""


def errno_of(error: BaseException) -> int:
    """The errno that the program sees for `error`; an unknown one is logged with its traceback and is EIO."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    if isinstance(error, protocol.RemoteError):
        return _REMOTE.get(type(error), errno.EIO)
    if isinstance(error, TimeoutError):
        return errno.ETIMEDOUT
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    LOG.error("an error that nobody expected", exc_info=error)
    return errno.EIO
