"""Path resolution as in path_resolution(7), over a "look at this name" that somebody else answers."""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Callable, Generator

from msgspec import Struct

from broker.namespace.mounts import ROOT, Mounts, Place

NAME_MAX = 255
PATH_MAX = 4096
"""Bytes of a path with its NUL (limits.h)."""
MAXSYMLINKS = 40

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
"""Restrictions of openat2(2)."""


class Kind(enum.Enum):
    """What resolution, and who acts on its result, needs to know of a node."""

    DIRECTORY = enum.auto()
    SYMLINK = enum.auto()
    MAGIC = enum.auto()
    """A link of /proc (``/proc/PID/fd/N``): its target is a real path that is jumped to, not walked."""
    FIFO = enum.auto()
    """To open it may take until somebody else does (fifo(7))."""
    OTHER = enum.auto()


class Seen(Struct, frozen=True):
    """What is at a place, as lstat(2) and, for both kinds of link, readlink(2) say to the tracee."""

    kind: Kind
    target: bytes | None = None
    kernels: bool = False
    """Whether only the kernel can follow a magic link: it leads to what has no name any more, so that what has its
    path is another node or none; to a symlink itself; or out of the tracee's root."""

    @property
    def leads_on(self) -> bool:
        """Whether the way goes on from here if it is followed, by us. ``pipe:[7]`` is no path."""
        if self.kind is Kind.MAGIC:
            return self.target is not None and self.target.startswith(b"/") and not self.kernels
        return self.kind is Kind.SYMLINK


class Look(Struct, frozen=True):
    """The question of a resolution; the answer is a `Seen`, or None where nothing exists."""

    place: Place
    last: bool
    """Whether the path ends here, unless it is a link that is followed."""


class Resolved(Struct, frozen=True):
    """Where a path leads."""

    place: Place
    seen: Seen | None
    """None: the last component does not exist; its folder does."""
    crossed: bool
    """Whether the way went into or out of a drive: the kernel by itself would not have got there."""
    trailing: bool
    """Whether a directory was asked for, by a trailing slash or ``/.``."""
    name: bytes
    """The last component, of the last symlink followed if any; empty for ``.``, ``..`` and every root."""


DIRECTORY = Seen(Kind.DIRECTORY)
Resolution = Generator[Look, Seen | None, Resolved]
Leaving = Callable[[Place, bytes], None]


def resolve(
    mounts: Mounts,
    base: Place,
    text: bytes,
    *,
    follow: bool,
    missing_ok: bool = True,
    create: bool = False,
    by_name: bool = False,
    how: int = 0,
    known_directory: Callable[[Place], bool] | None = None,
    leaving: Leaving = lambda folder, link: None,
) -> Resolution:
    """Find the place that `text` means to a program whose working directory or dirfd is the folder `base`.

    `follow`: a final symlink is followed. `missing_ok`: the last component need not exist. `create`: open(2)
    with O_CREAT, where a trailing slash is EISDIR (with O_EXCL pass `follow` false). `by_name`: the call acts
    on a name in a folder (mkdir, unlink, rename, ...), for which a trailing slash neither follows a symlink nor
    is checked: the caller sees `trailing`. `how`: RESOLVE_* of openat2(2). `known_directory`: folders on the way
    for which it is true are not looked at. `leaving` is told of every folder from which the way does not go on
    down: it ends there with an error, it goes up or into a drive, or it follows a link, which is named if it was the
    last component. It raises the OSError of a caller who may not search the folder or follow the link.

    Raises OSError: ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EISDIR, EXDEV, EINVAL. An OSError thrown in (such as
    EACCES) ends the resolution.
    """
    walk = _Walk(mounts, base, text, how)
    walk.leaving = leaving
    names = walk.names
    slash = text.endswith(b"/")
    name, seen = b"", DIRECTORY
    while names:
        if walk.enter():
            name, seen = b"", DIRECTORY
            if create and slash and not names:
                raise walk.error(errno.EISDIR)
            continue
        name, seen = names.pop(), DIRECTORY
        if name == b"..":
            walk.up()
            continue
        if name == b".":
            continue
        if create and slash and not names:
            raise walk.error(errno.EISDIR)
        if len(name) > NAME_MAX:
            raise walk.error(errno.ENAMETOOLONG)
        place = walk.place.child(name)
        if names and known_directory is not None and known_directory(place):
            walk.place = place
            continue
        answer = yield Look(place, last=not names)
        must_be_directory = bool(names) or (slash and not by_name)
        if answer is None:
            if not names and missing_ok:
                return Resolved(place, None, walk.crossed, slash, name)
            if not names or not mounts.is_above(place.path):
                raise walk.error(errno.ENOENT)
            walk.place = place
        elif answer.leads_on and (follow or must_be_directory):
            target = answer.target or b""
            slash = slash or (not names and target.endswith(b"/"))
            walk.follow(b"" if names else name, answer.kind, target)
            name = b""
        elif must_be_directory and answer.kind is not Kind.DIRECTORY:
            raise walk.error(errno.ENOTDIR)
        else:
            walk.place, seen = place, answer
    trailing = slash or name == b"."
    return Resolved(walk.place, seen, walk.crossed, trailing, b"" if name in (b".", b"..") else name)


class _Walk:
    """How far a resolution has come: the folder it stands in, and the names left, the next one last."""

    __slots__ = ("base", "crossed", "how", "leaving", "links", "mounts", "names", "place", "scoped", "text")

    def __init__(self, mounts: Mounts, base: Place, text: bytes, how: int) -> None:
        self.mounts = mounts
        self.base = self.place = base
        self.text = text
        self.how = how
        self.scoped = how & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)
        self.crossed = False
        self.links = 0
        self.leaving: Leaving = lambda folder, link: None
        self.names: list[bytes] = []
        if self.scoped == RESOLVE_BENEATH | RESOLVE_IN_ROOT:
            raise self.error(errno.EINVAL)
        if self._absolute(text):
            self.place = self._root()
        self._push(text)

    def enter(self) -> bool:
        """Whether the next names led from a local folder into a drive."""
        if self.place.mount is not None:
            return False
        mount = self.mounts.enter(self.place.path, self.names)
        if mount is not None:
            self.leaving(self.place, b"")
            self._go(Place(mount, b""))
        return mount is not None

    def up(self) -> None:
        """One ``..``: physical, because the place has no symlinks in it."""
        self.leaving(self.place, b"")
        if self.scoped and self.place == self.base:
            if self.how & RESOLVE_BENEATH:
                raise self.error(errno.EXDEV)
            return
        place = self.place.parent()
        mount = self.mounts.at(place.path) if place.mount is None else None
        self._go(place if mount is None else Place(mount, b""))

    def follow(self, last: bytes, kind: Kind, target: bytes) -> None:
        """Go where a link in the folder reached leads (pick_link and nd_jump_link in fs/namei.c), `last` by name."""
        self.leaving(self.place, last)
        self.links += 1
        if self.links > MAXSYMLINKS or self.how & RESOLVE_NO_SYMLINKS:
            raise self.error(errno.ELOOP)
        if kind is Kind.MAGIC:
            self._jump(target)
            return
        if self._absolute(target):
            self._go(self._root())
        self._push(target)

    def error(self, number: int) -> OSError:
        """That the folder may not be searched comes before all that is wrong in it (may_lookup in fs/namei.c)."""
        self.leaving(self.place, b"")
        return OSError(number, os.strerror(number), self.text)

    def _jump(self, target: bytes) -> None:
        if self.how & RESOLVE_NO_MAGICLINKS:
            raise self.error(errno.ELOOP)
        if self.scoped or self.how & RESOLVE_NO_XDEV:
            raise self.error(errno.EXDEV)
        place = self.mounts.place_of(target)
        if place.is_root:
            self._go(place)
        else:
            self._go(place.parent())
            self.names.append(place.name)

    def _go(self, place: Place) -> None:
        if place.mount is not self.place.mount:
            if self.how & RESOLVE_NO_XDEV:
                raise self.error(errno.EXDEV)
            self.crossed = True
        self.place = place

    def _root(self) -> Place:
        """Where absolute paths begin."""
        if self.how & RESOLVE_BENEATH:
            raise self.error(errno.EXDEV)
        return self.base if self.how & RESOLVE_IN_ROOT else ROOT

    def _absolute(self, text: bytes) -> bool:
        return text.startswith(b"/") or self.mounts.begins_with_scheme(text)

    def _push(self, text: bytes) -> None:
        """Put the names of `text` before those that are left; of the ``.`` only a last one says something."""
        if not text:
            raise self.error(errno.ENOENT)
        if len(text) >= PATH_MAX:
            raise self.error(errno.ENAMETOOLONG)
        names = [name for name in text.split(b"/") if name and name != b"."]
        stripped = text.rstrip(b"/")
        if stripped == b"." or stripped.endswith(b"/."):
            names.append(b".")
        names.reverse()
        self.names += names
