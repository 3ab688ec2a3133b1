"""The protocol that every remote speaks, and the values that cross it.

Paths (paths.py) have been checked by `valid_path` before they reach a remote, and a remote checks every name and
every symlink target that it hands out with `valid_name`: what comes from a remote is hostile input.
"""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NewType, Protocol

from msgspec import Struct

from broker.remotes.paths import Path
from broker.remotes.witness import Witness

Version = NewType("Version", str)
"""Opaque; differs whenever the content or the attributes of a node may have changed."""

Step = Callable[[int], None]
"""Told that so many more bytes are through, from whichever thread knows it."""


def unseen(count: int) -> None:
    """The step that nobody looks at."""


class RemoteError(Exception):
    """What a remote says when it cannot do what was asked. The subclasses say why."""

    words = "the remote cannot do this"
    """What is said where nobody says more."""

    def __init__(self, path: Path, detail: str = "") -> None:
        self.path = path
        self.detail = detail
        super().__init__(f"{path.decode(errors='backslashreplace') or '/'}: {detail or self.words}")


class NotFound(RemoteError):
    """The path, or a folder on its way, does not exist (ENOENT)."""

    words = "there is no such file or folder"


class NotADirectory(RemoteError):
    """A folder was needed (ENOTDIR)."""

    words = "it is no folder"


class IsADirectory(RemoteError):
    """Something other than a folder was needed (EISDIR)."""

    words = "it is a folder"


class AlreadyExists(RemoteError):
    """The name is taken (EEXIST)."""

    words = "the name is taken"


class NotEmpty(RemoteError):
    """The folder has entries (ENOTEMPTY)."""

    words = "the folder is not empty"


class Forbidden(RemoteError):
    """The remote refuses this user (EACCES)."""

    words = "you may not do this"


class ReadOnly(RemoteError):
    """The remote takes no changes (EROFS)."""


class NoSpace(RemoteError):
    """The remote is full (ENOSPC)."""


class OverQuota(RemoteError):
    """The user's share of the remote is used up (EDQUOT)."""


class TooLarge(RemoteError):
    """The remote cannot hold a file of this size (EFBIG)."""


class NameTooLong(RemoteError):
    """The remote cannot hold a name or path of this length (ENAMETOOLONG)."""


class Unsupported(RemoteError):
    """The remote lacks the capability (EOPNOTSUPP, or what Linux says for the call)."""


class CrossDevice(RemoteError):
    """The remote cannot move or link between these two places (EXDEV)."""


class Invalid(RemoteError):
    """No file system could do this, such as moving a folder into itself (EINVAL)."""


class VersionChanged(RemoteError):
    """The node is no longer what the caller based its change on. Nothing was changed."""

    words = "it has been changed meanwhile"


class Unavailable(RemoteError):
    """The remote did not answer, or not sensibly; the same request may succeed later (EIO)."""


class TimedOut(Unavailable):
    """The remote made no progress for as long as the policy allows (ETIMEDOUT). What was asked may still be done."""


class BadAnswer(Unavailable):
    """The remote answered something that no honest remote would: a bad name, an impossible size."""


class Capabilities(Struct, frozen=True):
    """What a remote can keep. What it lacks gets the errno of a Linux file system without it."""

    owners: bool = False
    modes: bool = True
    times: bool = True
    symlinks: bool = True
    hard_links: bool = False
    extended_attributes: bool = False
    special_files: bool = False
    holes: bool = False
    time_resolution_ns: int = 1


class Attributes(Struct, frozen=True, gc=False):
    """One node of a remote as it is now. Sizes in bytes, times in ns since 1970, blocks of 512 bytes."""

    version: Version
    mode: int
    size: int
    mtime_ns: int
    atime_ns: int
    nlink: int = 1
    uid: int | None = None
    gid: int | None = None
    blocks: int | None = None
    rdev: int = 0
    target: bytes | None = None
    identity: str | None = None
    """Equal for the names of one hard-linked file, where the remote knows that."""

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.mode)


class Entry(Struct, frozen=True, gc=False):
    """One name in a listing."""

    name: bytes
    attributes: Attributes


class Changes(Struct, frozen=True):
    """Attributes to set; None leaves one as it is. Modes without the type bits."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime_ns: int | None = None
    atime_ns: int | None = None

    def __bool__(self) -> bool:
        return self != Changes()


class Space(Struct, frozen=True):
    """Room on the remote, in bytes and files."""

    total: int
    free: int
    available: int
    files: int
    files_free: int


class Remote(Protocol):
    """A tree of files somewhere. All methods raise `RemoteError` and nothing else.

    Nothing is followed: a symlink is a node like another. Every change is atomic for other readers.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def witness(self) -> Witness | None:
        """None where only `stat` tells what the remote has by now."""
        ...

    async def stat(self, path: Path) -> Attributes:
        """What is at `path`, as lstat(2) would say."""
        ...

    def list(self, path: Path) -> AsyncIterator[Sequence[Entry]]:
        """The entries of a folder, without ``.`` and ``..``, in pages of at most a few thousand."""
        ...

    async def read(self, path: Path, version: Version, offset: int, length: int) -> bytes:
        """At most `length` bytes at `offset` of that version of a regular file; empty at its end, and only there.

        VersionChanged when the node is at another version or gone.
        """
        ...

    async def write(
        self,
        path: Path,
        source: int,
        base: Version | None,
        changes: Changes,
        *,
        durable: bool = True,
        step: Step = unseen,
    ) -> Attributes:
        """Replace the content by that of the descriptor `source` (from offset 0, its position unused).

        `base` is the version that is being replaced; None creates, and AlreadyExists if something is there.
        VersionChanged when the node is at another version or gone. With `durable` it returns only when the
        content would survive a power loss of the remote, as after fsync(2); without, as after close(2). What
        `changes` leaves open stays as it was; a new file gets mode 0600. Nothing changes when this raises, except
        that a file with several names may be left half-written: it cannot be replaced as a whole. `step` is called
        as often as it can be known that more has arrived: who calls it no more is taken to hang.
        """
        ...

    async def mkdir(self, path: Path, changes: Changes) -> Attributes:
        """A new folder; mode 0700 unless `changes` has one."""
        ...

    async def symlink(self, path: Path, target: bytes, changes: Changes) -> Attributes:
        """A new symlink; a mode in `changes` is ignored, as symlinks have none."""
        ...

    async def readlink(self, path: Path) -> bytes:
        """The text of a symlink; Invalid for any other node (readlink(2))."""
        ...

    async def mknod(self, path: Path, mode: int, rdev: int, changes: Changes) -> Attributes:
        """A FIFO or device node (S_IFIFO, S_IFCHR, S_IFBLK in `mode`), where the remote keeps them.

        Its permissions are those of `changes`, or 0600; those in `mode` are not looked at.
        """
        ...

    async def link(self, existing: Path, path: Path) -> Attributes:
        """A second name for a file; the attributes of both names afterwards."""
        ...

    async def remove(self, path: Path) -> None:
        """Remove a name that is not a folder."""
        ...

    async def rmdir(self, path: Path) -> None: ...

    async def rename(self, old: Path, new: Path, *, replace: bool = True) -> Attributes:
        """Move `old` to `new`, over what is there unless `replace` is false (AlreadyExists); what is at `new` then.

        The rules are rename(2)'s: two names of one file both stay.
        """
        ...

    async def exchange(self, one: Path, other: Path) -> None:
        """Swap two names in one step (renameat2's RENAME_EXCHANGE), or Unsupported."""
        ...

    async def set_attributes(self, path: Path, changes: Changes, base: Version | None = None) -> Attributes:
        """With `base`, VersionChanged unless the node is at that version, with nothing changed: whoever has an older
        content must not take the newer one for it because of attributes that he has given it."""
        ...

    async def authorize(self, path: Path) -> None:
        """Forbidden or ReadOnly if this user may not write to the file at `path`, whose mode need not say so.

        Asked before a file is opened for writing; a remote that can only find out by trying says nothing.
        """
        ...

    async def get_xattrs(self, path: Path) -> Mapping[bytes, bytes]:
        """All extended attributes of the ``user.`` namespace."""
        ...

    async def set_xattr(self, path: Path, name: bytes, value: bytes | None) -> Attributes:
        """Set one extended attribute of the ``user.`` namespace, or remove it when `value` is None: no error if it is
        not there, so that a repeated request is harmless. Unsupported for other namespaces."""
        ...

    async def sync(self, path: Path) -> None:
        """What was written at `path` before, or of a folder the names in it, survives a power loss of the remote once
        this returns (fsync(2)); at the root everything does (syncfs(2))."""
        ...

    async def space(self) -> Space: ...

    async def close(self) -> None: ...
