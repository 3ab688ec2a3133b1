"""One trapped call as its handler sees it: arguments, paths, the caller, and the way to act as the caller."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping

from msgspec import Struct, field

from broker.kernel import native
from broker.kernel.idmaps import IdMaps
from broker.kernel.lane import Lane, Trapped
from broker.kernel.native import Identity
from broker.kernel.tracee import AT_FDCWD, Credentials, Tracee
from broker.mirror.mirror import Mirror
from broker.namespace.mounts import ROOT, Mounts, Place
from broker.namespace.resolve import PATH_MAX, RESOLVE_BENEATH, RESOLVE_IN_ROOT, Kind, Resolved, Seen, resolve
from broker.syscalls import permission
from broker.syscalls.looking import is_above, look_locally, place_behind, seen_as, walk
from broker.syscalls.permission import Protected
from broker.syscalls.reply import Interruptible
from broker.syscalls.ways import Way
from broker.table import Row

_NOWHERE = Resolved(Place(None, b""), Seen(Kind.DIRECTORY), crossed=False, trailing=False, name=b"")
"""What is for the kernel to find."""


class Services(Struct, frozen=True):
    """What handlers work with; built once, by the session."""

    mounts: Mounts
    mirrors: Mapping[int, Mirror]
    lane: Lane
    credentials: Credentials
    listener: int
    helper: str
    """The path of the static exec helper."""
    protected: Protected
    scripts: dict[int, bytes] = field(default_factory=dict)
    """What the exec helper, by its thread group id, is about to ask for."""


class Target(Struct, frozen=True):
    """Where a path argument leads, and how the broker reaches it."""

    resolved: Resolved
    real: bytes
    mirror: Mirror | None

    @property
    def path(self) -> bytes:
        """Relative to the drive's root."""
        return self.resolved.place.path

    @property
    def is_drive_root(self) -> bool:
        return self.mirror is not None and not self.path

    @property
    def native(self) -> bool:
        """Whether the kernel reaches the right file by itself, on the local disk."""
        return self.mirror is None and not self.resolved.crossed

    @property
    def missing(self) -> bool:
        return self.resolved.seen is None

    @property
    def is_directory(self) -> bool:
        return self.resolved.seen is not None and self.resolved.seen.kind is Kind.DIRECTORY


class Call:
    """A notification with its row of the table."""

    __slots__ = (
        "_identity",
        "_moves",
        "_on_drive",
        "_way",
        "began",
        "interruptible",
        "row",
        "services",
        "tracee",
        "trapped",
    )

    def __init__(self, trapped: Trapped, row: Row, services: Services) -> None:
        self.trapped = trapped
        self.row = row
        self.services = services
        self.began = time.monotonic()
        self.tracee = Tracee(
            trapped.tid, own=trapped.own, identity=trapped.identity, real=trapped.real, rooted=trapped.rooted
        )
        self.interruptible = Interruptible()
        self._identity: tuple[Identity | None] | None = None
        self._on_drive = False  # whether the path that is being resolved has come to one
        self._way: Way | None = None
        self._moves: dict[int, bytes] | None = None
        """Of each mirror, as it was before a relative path was made an absolute one."""

    def integer(self, index: int) -> int:
        """An argument as a signed int."""
        value = self.trapped.arguments[index] & 0xFFFFFFFF
        return value - (1 << 32) if value & 0x80000000 else value

    def unsigned(self, index: int) -> int:
        """An argument as an unsigned long or a pointer."""
        value = self.trapped.arguments[index]
        return value & 0xFFFFFFFF if self.trapped.arch == native.AUDIT_ARCH_I386 else value

    def string(self, index: int, limit: int = PATH_MAX) -> bytes:
        """The string that an argument points to."""
        return native.read_string(self.trapped.tid, self.unsigned(index), limit)

    def memory(self, index: int, length: int) -> bytes:
        """`length` bytes behind an argument; EFAULT if they are not all there."""
        data = native.read_memory(self.trapped.tid, self.unsigned(index), length)
        if len(data) < length:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return data

    def path(self, which: int = 0) -> bytes:
        """The text of a path argument of the row, as the lane read it."""
        text = self.trapped.paths[which] if which < len(self.trapped.paths) else None
        return self.string(self.row.paths[which][1]) if text is None else text

    def dirfd(self, which: int = 0) -> int:
        """The descriptor that a path argument is relative to; a call without one has the working directory."""
        index = self.row.paths[which][0] if self.row.paths else None
        return AT_FDCWD if index is None else self.integer(index)

    def identity(self) -> Identity | None:
        if self._identity is None:
            self._identity = (self.services.credentials.of(self.tracee),)
        return self._identity[0]

    def act_as(self, identity: Identity | None) -> None:
        """Judge this call's way by another identity than the one that most calls act with."""
        self._identity = (identity,)

    @property
    def caller(self) -> Identity:
        """The identity that the call acts with, also where it is the broker's own."""
        return self.identity() or self.services.credentials.own

    @property
    def way(self) -> Way:
        if self._way is None:
            services = self.services
            own = services.credentials.own
            self._way = Way(services.mirrors, self.tracee, self.identity(), own, services.protected)
        return self._way

    def id_maps(self) -> IdMaps | None:
        """By which ids the caller knows ours, where they are others."""
        return self.services.credentials.maps(self.tracee)

    def umask(self, mode: int) -> int:
        """A mode for a new file, less the caller's umask."""
        return mode & 0o7777 & ~self.tracee.status.umask

    def was_moved(self) -> bool:
        """Whether the folder of a drive that a path begins in may be elsewhere by now: then it is served anew."""
        before, self._moves, self._way = self._moves, None, None
        return before is not None and before != self._moves_now()

    def _moves_now(self) -> dict[int, bytes]:
        return {number: mirror.moves for number, mirror in self.services.mirrors.items()}

    def protect(self) -> None:
        """From here on the call changes something: it is not interrupted any more."""
        self.interruptible.allowed = False

    def descriptor_target(self, number: int) -> Target:
        """The file behind a descriptor, or the working directory (AT_FDCWD), as the target of a call."""
        real = self.tracee.directory(number)
        place = place_behind(self.services.mounts, self.tracee, real) or Place(None, real)
        return self._target(Resolved(place, Seen(Kind.OTHER), False, False, place.name))

    def open_target(self, number: int) -> Target | None:
        """The drive's file behind a descriptor; None if it is none, or has no name any more and is the kernel's."""
        target = self.descriptor_target(number)
        if target.mirror is None or number < 0 or self.tracee.file_status(number).st_nlink == 0:
            return None
        return target

    async def resolve(
        self,
        which: int = 0,
        *,
        follow: bool,
        by_name: bool = False,
        create: bool = False,
        missing_ok: bool = False,
        new: bool = False,
        how: int = 0,
        text: bytes | None = None,
    ) -> Target:
        """Where a path argument leads, as the caller would see it.

        `new`: the call makes the name, or fails where it is. If the mirror lacks it, the remote will say so then.
        A walk that fails before it has come to a drive is the kernel's, which may see more.
        """
        alone = text is None and len(self.row.paths) == 1
        text = self.path(which) if text is None else text
        base = self._base(text, which, how)
        if base is None:
            return Target(_NOWHERE, b".", None)
        self._on_drive = base.mount is not None
        steps = resolve(
            self.services.mounts,
            base,
            text,
            follow=follow,
            by_name=by_name,
            create=create,
            missing_ok=missing_ok,
            how=how,
            known_directory=self._known_directory,
            leaving=self._leaves,
        )
        try:
            target = self._target(await walk(steps, lambda look: self._look(look.place, new=new and look.last)))
        except OSError:
            if self._on_drive or how or not alone:
                raise
            return Target(_NOWHERE, b".", None)
        if not target.resolved.place.is_root:
            self.way.ends_in(target.resolved.place.parent())
        if target.mirror is not None and not target.resolved.name:
            await target.mirror.look(target.path)
        return target

    def act(
        self,
        paths: Mapping[int, bytes],
        *,
        buffers: Mapping[int, bytes | bytearray] | None = None,
        integers: Mapping[int, int] | None = None,
        identity: Identity | None = None,
    ) -> int:
        """Run the caller's own system call here, on real paths and local buffers, under `identity`."""
        arguments: list[int | bytes | bytearray] = list(self.trapped.arguments)
        for index, path in paths.items():
            arguments[index] = path
        for index, buffer in (buffers or {}).items():
            arguments[index] = buffer
        for index, value in (integers or {}).items():
            arguments[index] = value
        return native.call(self.trapped.arch, self.trapped.number, tuple(arguments), identity)

    def _base(self, text: bytes, which: int, how: int) -> Place | None:
        """Where the walk begins; None where the kernel knows that alone: in a removed folder, outside its root."""
        scoped = how & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)
        if not scoped and (text.startswith(b"/") or self.services.mounts.begins_with_scheme(text)):
            return ROOT
        dirfd = self.dirfd(which)
        removed = not scoped and self.tracee.is_removed(dirfd)
        if removed and next((name for name in text.split(b"/") if name not in (b"", b".")), b"") != b"..":
            return None
        self._moves = self._moves or self._moves_now()
        place = place_behind(self.services.mounts, self.tracee, self.tracee.directory(dirfd))
        if not removed or place is None or is_above(self.tracee, dirfd, self.way.real(place.parent())):
            return place
        if place.mount is None:
            return None
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _leaves(self, folder: Place, link: bytes) -> None:
        self._on_drive |= folder.mount is not None
        self.way.leaves(folder, link)

    def _known_directory(self, place: Place) -> bool:
        return place.mount is not None and self.services.mirrors[place.mount.number].known_directory(place.path)

    async def _look(self, place: Place, *, new: bool) -> Seen | None:
        if place.mount is None:
            seen = look_locally(self.services.mounts, self.tracee, place.path)
            if seen is not None and seen.kernels:
                self._on_drive |= self.services.mounts.place_of(seen.target or b"").mount is not None
            return seen
        self._on_drive = True
        mirror = self.services.mirrors[place.mount.number]
        if new and mirror.tree.lstat(place.path) is None:
            return None
        status = await mirror.look(place.path)
        return None if status is None else seen_as(status, mirror.tree.real(place.path))

    def _target(self, resolved: Resolved) -> Target:
        place = resolved.place
        if self.services.mounts.is_private(place):
            self._on_drive = True  # or as little the kernel's
            raise permission.forbidden()
        mirror = None if place.mount is None else self.services.mirrors[place.mount.number]
        return Target(resolved, self.way.real(place), mirror)
