"""The `Remote` on top of metadata, blobs and format: each operation looks names up and makes at most one commit."""

from __future__ import annotations

import contextlib
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from msgspec.structs import replace

from broker.drive.errors import DriveError, EpochChanged, Malformed, Missing, NodeChanged
from broker.drive.format.bodies import Body
from broker.drive.records import BlobName, Kind, StoredNode
from broker.remotes import protocol
from broker.remotes.drive.committing import retried
from broker.remotes.drive.core import Core
from broker.remotes.drive.editing import Editing, Source
from broker.remotes.drive.errors import remote_error
from broker.remotes.drive.finding import Finder
from broker.remotes.drive.listing import listing
from broker.remotes.drive.nodes import attributes_of, changed, is_version
from broker.remotes.drive.places import Held
from broker.remotes.drive.roots import Root
from broker.remotes.paths import Path, valid_target
from broker.remotes.protocol import Attributes, Capabilities, Changes, Entry, Space, Step, Version, unseen

_T = TypeVar("_T")
_SPECIAL = {stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK}
_GONE = "it is gone"
_USERS = b"user."
"""The namespace of extended attributes that programs see. Others in a body are the drive's own notes."""


class DriveRemote:
    """The tree below one root. Several of them, of one user's drive, may share a core; who made that closes it."""

    def __init__(
        self, core: Core, root: Root, capabilities: Capabilities, room: Callable[[], Awaitable[Space]]
    ) -> None:
        self._core = core
        self._root = root
        self._capabilities = capabilities
        self._room = room
        self._editing = Editing(core)
        self._find = Finder(core, root)

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def witness(self) -> None:
        return None

    @property
    def places(self) -> Finder:
        """For commands that do what no program can."""
        return self._find

    async def stat(self, path: Path) -> Attributes:
        with self._said(path):
            return self._described(await self._find.existing(path))

    async def list(self, path: Path) -> AsyncIterator[Sequence[Entry]]:
        with self._said(path):
            folder = await self._find.existing(path)
            if not folder.is_folder:
                raise protocol.NotADirectory(path)
        pages = listing(self._core, folder, lambda: self._find.existing(path))
        while True:
            with self._said(path):
                page = await anext(pages, None)
            if page is None:
                return
            yield page

    async def read(self, path: Path, version: Version, offset: int, length: int) -> bytes:
        with self._said(path):
            held = await self._find.source(path, version)
            try:
                return await self._core.reading.read(held.stored.node, self._core.bodies.open(held), offset, length)
            except Missing:
                raise protocol.VersionChanged(path, _GONE) from None

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
        with self._said(path):
            content = Source(source, step, durable)
            if base is None:
                return await self._create(path, _new(stat.S_IFREG | 0o600), changes, content)
            held = await self._find.base(path, base)
            _require_writable(path, held)
            try:
                written = await self._editing.write(path, held, content, changes)
            except Missing:
                raise protocol.VersionChanged(path, _GONE) from None
            return self._described(written)

    async def mkdir(self, path: Path, changes: Changes) -> Attributes:
        with self._said(path):
            return await self._create(path, _new(stat.S_IFDIR | 0o700), changes)

    async def symlink(self, path: Path, target: bytes, changes: Changes) -> Attributes:
        if not valid_target(target):
            raise protocol.Invalid(path, "no symlink can have this text")
        with self._said(path):
            body = _new(stat.S_IFLNK | 0o777, target=target)
            return await self._create(path, body, replace(changes, mode=None))

    async def readlink(self, path: Path) -> bytes:
        with self._said(path):
            target = self._core.bodies.open(await self._find.existing(path)).target
        if target is None:
            raise protocol.Invalid(path, "not a symlink")
        return target

    async def mknod(self, path: Path, mode: int, rdev: int, changes: Changes) -> Attributes:
        kind = stat.S_IFMT(mode)
        if kind not in _SPECIAL:
            raise protocol.Invalid(path, "neither a FIFO nor a device")
        if not self._capabilities.special_files:
            raise protocol.Unsupported(path, "this drive keeps no special files")
        with self._said(path):
            body = _new(kind | 0o600, rdev=0 if kind == stat.S_IFIFO else rdev)
            return await self._create(path, body, changes)

    async def link(self, existing: Path, path: Path) -> Attributes:
        async def attempt() -> Attributes:
            places = await self._find.name(existing), await self._find.name(path)
            return self._described(await self._core.names.link(*places))

        with self._said(path):
            return await self._renaming(attempt)

    async def remove(self, path: Path) -> None:
        await self._remove(path, folder=False)

    async def rmdir(self, path: Path) -> None:
        await self._remove(path, folder=True)

    async def rename(self, old: Path, new: Path, *, replace: bool = True) -> Attributes:
        async def attempt() -> Attributes:
            places = await self._find.name(old), await self._find.name(new)
            return self._described(await self._core.names.move(*places, replace=replace))

        with self._said(new):
            return await self._renaming(attempt)

    async def exchange(self, one: Path, other: Path) -> None:
        async def attempt() -> None:
            await self._core.names.exchange(await self._find.name(one), await self._find.name(other))

        with self._said(other):
            await self._renaming(attempt)

    async def set_attributes(self, path: Path, changes: Changes, base: Version | None = None) -> Attributes:
        def alter(body: Body, stored: StoredNode) -> Body:
            if base is not None and not is_version(stored, base):
                raise protocol.VersionChanged(path)
            return changed(path, body, changes, stored)

        return await self._change(path, alter)

    async def authorize(self, path: Path) -> None:
        with self._said(path):
            _require_writable(path, await self._find.existing(path))

    async def get_xattrs(self, path: Path) -> Mapping[bytes, bytes]:
        with self._said(path):
            found = self._core.bodies.open(await self._find.existing(path)).xattrs
            return {name: value for name, value in found.items() if name.startswith(_USERS)}

    async def set_xattr(self, path: Path, name: bytes, value: bytes | None) -> Attributes:
        if not name.startswith(_USERS):
            raise protocol.Unsupported(path, "only attributes of users are kept")

        def alter(body: Body, stored: StoredNode) -> Body:
            if not (stat.S_ISREG(body.mode) or stat.S_ISDIR(body.mode)):
                raise protocol.Forbidden(path, "only files and folders have extended attributes")
            others = {known: text for known, text in body.xattrs.items() if known != name}
            return replace(body, xattrs=others if value is None else others | {name: value})

        try:
            return await self._change(path, alter)
        except protocol.BadAnswer as error:
            if isinstance(error.__cause__, Malformed):
                raise protocol.NoSpace(path, "so many extended attributes cannot be kept") from error
            raise

    async def sync(self, path: Path) -> None:
        """A durable commit has all that was committed before in the log that it syncs."""
        with self._said(path):
            await self._core.transfers.blobs.settle(await self._blobs_at(path))
            await self._core.commits.commit(durable=True)

    async def space(self) -> Space:
        with self._said(b""):
            return await self._room()

    async def close(self) -> None:
        """The core is closed by whoever made it."""

    async def _blobs_at(self, path: Path) -> Sequence[BlobName] | None:
        """Those of a file; None, for all, at the root."""
        if not path:
            return None
        node = (await self._find.existing(path)).stored.node
        if node.kind == Kind.FOLDER or node.inline:
            return ()
        return [chunk.blob for chunk in await self._core.store.chunks(node.id, node.version)]

    async def _create(self, path: Path, body: Body, changes: Changes, source: Source | None = None) -> Attributes:
        place = self._find.recent.get(path)
        if place is None or place.node is not None:
            place = await self._find.name(path)
        home = place.free().stored.home
        made = await self._editing.make(home, changed(path, body, changes, None), source)
        places = iter([place])

        async def attempt() -> Attributes:
            place = next(places, None) or await self._find.place(path)
            named = await self._editing.place(made, place, durable=source is not None and source.durable)
            self._find.recent.put(named)
            return self._described(named.required())

        return await self._retried(attempt)

    async def _remove(self, path: Path, *, folder: bool) -> None:
        async def attempt() -> None:
            await self._core.names.remove(await self._find.name(path), folder=folder)

        with self._said(path):
            await self._renaming(attempt)

    async def _renaming(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """A change of names, after which those that are remembered may lead elsewhere."""
        try:
            return await self._retried(attempt)
        finally:
            self._find.recent.clear()

    async def _change(self, path: Path, alter: Callable[[Body, StoredNode], Body]) -> Attributes:
        async def attempt() -> Attributes:
            held = await self._find.existing(path)
            _require_writable(path, held)
            return self._described(await self._editing.change(held, lambda body: alter(body, held.stored)))

        with self._said(path):
            return await self._retried(attempt, NodeChanged)

    def _described(self, held: Held) -> Attributes:
        return attributes_of(held.stored, self._core.bodies.open(held))

    async def _retried(self, attempt: Callable[[], Awaitable[_T]], *others: type[DriveError]) -> _T:
        """`attempt`, made anew while somebody else changes the same."""

        async def once() -> _T:
            try:
                return await attempt()
            except EpochChanged:
                await self._root.fresh()
                raise

        return await retried(once, *others)

    @contextlib.contextmanager
    def _said(self, path: Path) -> Iterator[None]:
        try:
            yield
        except DriveError as error:
            raise remote_error(error, path) from error
        finally:
            self._core.remember()


def _new(mode: int, *, target: bytes | None = None, rdev: int = 0) -> Body:
    """The body of a node that is made now."""
    now = time.time_ns()
    return Body(mode, now, now, target=target, rdev=rdev)


def _require_writable(path: Path, held: Held) -> None:
    if held.keys.seed is None:
        raise protocol.Forbidden(path, "it is shared with you for reading only")
