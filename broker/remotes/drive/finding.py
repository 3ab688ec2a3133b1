"""From paths to places of one tree, as they are now, or as they must be for a change that is based on a version."""

from __future__ import annotations

import stat

from broker.drive.errors import Missing, Tampered
from broker.remotes import protocol
from broker.remotes.drive.core import Core
from broker.remotes.drive.nodes import is_version
from broker.remotes.drive.places import Held, Place
from broker.remotes.drive.recent import Recent
from broker.remotes.drive.roots import Root
from broker.remotes.paths import Path
from broker.remotes.protocol import Version


class Finder:
    """The places below one root. `recent` is to be cleared by whoever changes names."""

    def __init__(self, core: Core, root: Root) -> None:
        self._core = core
        self._root = root
        self.recent = Recent()

    async def place(self, path: Path) -> Place:
        """Where `path` leads. A name on the way that is not there, or that was removed under other keys, is looked
        for again under the root's new keys, if they have been changed since they were asked for."""
        root = await (self._root.held() if path else self._root.fresh())
        try:
            place = await self._core.walk.place(path, root)
        except (protocol.NotFound, Missing, Tampered):
            if not await self._root.renewed(root):
                raise
            place = await self._core.walk.place(path, await self._root.held())
        self.recent.put(place)
        return place

    async def name(self, path: Path) -> Place:
        """As `place`, for a name that is about to change. Forbidden for the root."""
        if not path:
            raise protocol.Forbidden(path, "the root stays as it is")
        return await self.place(path)

    async def existing(self, path: Path) -> Held:
        place = await self.place(path)
        if place.node is None and len(place.above) == 1 and await self._root.renewed(place.above[0]):
            place = await self.place(path)
        return place.required()

    async def at_version(self, path: Path, version: Version) -> Held:
        """The file that is at `version`."""
        try:
            held = await self.existing(path)
        except (protocol.NotFound, protocol.NotADirectory, Missing):
            raise protocol.VersionChanged(path, "it is gone") from None
        if not is_version(held.stored, version):
            raise protocol.VersionChanged(path)
        if held.is_folder:
            raise protocol.IsADirectory(path)
        if not self._is_file(held):
            raise protocol.Unsupported(path, "only regular files have content")
        return held

    async def base(self, path: Path, version: Version) -> Held:
        """The file that is to be replaced; as it was a moment ago, if it was at `version` then."""
        return self._lately(path, version) or await self.at_version(path, version)

    async def source(self, path: Path, version: Version) -> Held:
        """The file that is to be read; as it was a moment ago where the store gives the content with its version."""
        held = self._lately(path, version)
        return held if held and held.stored.node.inline else await self.at_version(path, version)

    def _lately(self, path: Path, version: Version) -> Held | None:
        place = self.recent.get(path)
        held = place.node if place else None
        return held if held and is_version(held.stored, version) and self._is_file(held) else None

    def _is_file(self, held: Held) -> bool:
        return stat.S_ISREG(self._core.bodies.open(held).mode)
