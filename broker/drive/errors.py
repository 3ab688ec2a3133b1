"""What goes wrong between the drive and its stores."""

from __future__ import annotations


class DriveError(Exception):
    """The subclasses say what. `code` is stable: it crosses HTTP."""

    code = "error"


class Missing(DriveError):
    """No such node, entry, user or blob, or none that this user may see."""

    code = "missing"


class Denied(DriveError):
    """The user may see it, but not do this."""

    code = "denied"


class Unauthenticated(DriveError):
    """The server does not know who asks: the token or the login is no good, or no longer."""

    code = "unauthenticated"


class NameTaken(DriveError):
    """Another user has that name."""

    code = "name-taken"


class NodeChanged(DriveError):
    """A node is at another version than the commit is based on."""

    code = "node-changed"


class EntryChanged(DriveError):
    """A name is at another version than the commit is based on."""

    code = "entry-changed"


class EpochChanged(DriveError):
    """The keys of a folder have changed: fetch them again."""

    code = "epoch-changed"


class FolderNotEmpty(DriveError):
    """A folder that is to go has entries."""

    code = "not-empty"


class WrongKind(DriveError):
    """An entry in something that is no folder."""

    code = "wrong-kind"


class Cycle(DriveError):
    """A folder would be below itself, or have two names."""

    code = "cycle"


class OtherHome(DriveError):
    """A node cannot have a name in somebody else's tree."""

    code = "other-home"


class QuotaExceeded(DriveError):
    """The user's share of the store is used up."""

    code = "quota"


class StoreFull(DriveError):
    """The store has no room left."""

    code = "full"


class Malformed(DriveError):
    """A request that no honest client makes: sizes, signatures or versions are wrong."""

    code = "malformed"


class Unreachable(DriveError):
    """The store did not answer; the same request may succeed later."""

    code = "unreachable"


class Tampered(DriveError):
    """What the store gave was not made by who it should be from, or is older than what was seen before."""

    code = "tampered"


class Damaged(DriveError):
    """Sealed bytes do not open under the right key."""

    code = "damaged"


class WrongKey(DriveError):
    """The key is not the one the thing was sealed under."""

    code = "wrong-key"


class Unusable(DriveError):
    """A store that cannot be worked with as it is; the message says what to do."""

    code = "unusable"
