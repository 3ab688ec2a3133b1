"""The one map from what the stores and the format say to what a remote says."""

from __future__ import annotations

from broker.drive import errors
from broker.remotes import protocol
from broker.remotes.paths import Path

_REMOTE: dict[type[errors.DriveError], type[protocol.RemoteError]] = {
    errors.Missing: protocol.NotFound,
    errors.Denied: protocol.Forbidden,
    errors.NodeChanged: protocol.VersionChanged,
    errors.FolderNotEmpty: protocol.NotEmpty,
    errors.WrongKind: protocol.NotADirectory,
    errors.Cycle: protocol.Invalid,
    errors.OtherHome: protocol.CrossDevice,
    errors.QuotaExceeded: protocol.OverQuota,
    errors.StoreFull: protocol.NoSpace,
    errors.Tampered: protocol.BadAnswer,
    errors.Damaged: protocol.BadAnswer,
    errors.WrongKey: protocol.BadAnswer,
    errors.Malformed: protocol.BadAnswer,
}


def remote_error(error: errors.DriveError, path: Path) -> protocol.RemoteError:
    """What `error` means at `path`; whatever may pass is Unavailable."""
    kind = next((_REMOTE[each] for each in type(error).__mro__ if each in _REMOTE), protocol.Unavailable)
    return kind(path, str(error))
