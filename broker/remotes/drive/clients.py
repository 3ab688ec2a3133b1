"""One user's drive, open: what a mount shows of it, and what the commands need besides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from broker.drive.format.identity import Identity
from broker.remotes.around import Around
from broker.remotes.drive.core import Core
from broker.remotes.drive.places import Place
from broker.remotes.drive.remote import DriveRemote
from broker.remotes.drive.roots import Root
from broker.remotes.drive.sharing import Sharing
from broker.remotes.drive.view import ViewRemote, named
from broker.remotes.paths import Path
from broker.remotes.protocol import Forbidden, Remote
from broker.remotes.witness import Witness

if TYPE_CHECKING:
    from broker.drive.metadata.store import SqlStore


class Owning(Around):
    """A remote that closes what it stands on: the core, and what else `close` does."""

    def __init__(
        self, remote: Remote, core: Core, close: Callable[[], Awaitable[None]], witness: Witness | None = None
    ) -> None:
        super().__init__(remote)
        self._core = core
        self._close = close
        self._witness = witness

    @property
    def witness(self) -> Witness | None:
        return self._witness

    async def close(self) -> None:
        await self._core.close()
        await self._close()


class Client(Struct, frozen=True):
    """`remote` is what a mount shows; `home` is the user's own tree, `view` what a server shows above it."""

    identity: Identity
    core: Core
    root: Root
    home: DriveRemote
    remote: Owning
    view: ViewRemote | None = None
    store: SqlStore | None = None
    """Of an embedded drive."""

    @property
    def sharing(self) -> Sharing:
        return Sharing(self.core, self.identity, self.root)

    async def tree(self, path: Path) -> tuple[DriveRemote, Path]:
        """The tree that `path` of the mount is in, and the path there. Forbidden for the folders above."""
        if self.view is None:
            return self.home, path
        tree, rest = await self.view.find(path)
        if tree is None:
            raise Forbidden(path, "it is not in a user's folder: name something that is")
        return tree, rest

    async def place(self, path: Path) -> Place:
        """What `path` of the mount leads to; errors name it as it was asked for."""
        tree, rest = await self.tree(path)
        with named(path):
            return replace(await tree.places.place(rest), path=path)

    def inside(self, path: Path) -> Path:
        """A path of the user's own tree, as the root of the server's view or of the drive has it."""
        return b"/".join(part for part in (self.identity.name.encode() if self.view else b"", path) if part)

    async def close(self) -> None:
        await self.remote.close()
