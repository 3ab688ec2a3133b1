"""The one map from what the operating system says to what a remote says."""

from __future__ import annotations

import errno
import os

from broker.remotes import protocol
from broker.remotes.paths import Path

_ERRORS: dict[int, type[protocol.RemoteError]] = {
    errno.ENOENT: protocol.NotFound,
    errno.ENOTDIR: protocol.NotADirectory,
    errno.EISDIR: protocol.IsADirectory,
    errno.EEXIST: protocol.AlreadyExists,
    errno.ENOTEMPTY: protocol.NotEmpty,
    errno.EACCES: protocol.Forbidden,
    errno.EPERM: protocol.Forbidden,
    errno.EBUSY: protocol.Forbidden,
    errno.EROFS: protocol.ReadOnly,
    errno.ENOSPC: protocol.NoSpace,
    errno.EDQUOT: protocol.OverQuota,
    errno.EFBIG: protocol.TooLarge,
    errno.E2BIG: protocol.TooLarge,
    errno.ENAMETOOLONG: protocol.NameTooLong,
    errno.EXDEV: protocol.CrossDevice,
    errno.EINVAL: protocol.Invalid,
    errno.EOPNOTSUPP: protocol.Unsupported,
    errno.ENOSYS: protocol.Unsupported,
    errno.EMLINK: protocol.Unsupported,
}


def remote_error(error: OSError, path: Path) -> protocol.RemoteError:
    """What `error` means to the user of a remote. Whatever is not listed (EIO, ESTALE, ENOTCONN, ETIMEDOUT, EMFILE,
    …) may pass, and is Unavailable."""
    kind = _ERRORS.get(error.errno or 0, protocol.Unavailable)
    return kind(path, os.strerror(error.errno) if error.errno else str(error))
