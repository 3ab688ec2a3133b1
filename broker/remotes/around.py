"""What every decorator of a remote is built on: each operation goes through one method."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from broker.remotes.paths import Path
from broker.remotes.protocol import Attributes, Capabilities, Changes, Entry, Remote, Space, Step, Version, unseen
from broker.remotes.witness import Witness

_T = TypeVar("_T")


class Around:
    """A remote that does what another one does. `_pass` has every operation but `list`, `read` and `write`."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    @property
    def capabilities(self) -> Capabilities:
        return self._remote.capabilities

    @property
    def witness(self) -> Witness | None:
        return self._remote.witness

    async def _pass(self, path: Path, work: Coroutine[Any, Any, _T]) -> _T:
        return await work

    async def stat(self, path: Path) -> Attributes:
        return await self._pass(path, self._remote.stat(path))

    def list(self, path: Path) -> AsyncIterator[Sequence[Entry]]:
        return self._remote.list(path)

    async def read(self, path: Path, version: Version, offset: int, length: int) -> bytes:
        return await self._remote.read(path, version, offset, length)

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
        return await self._remote.write(path, source, base, changes, durable=durable, step=step)

    async def mkdir(self, path: Path, changes: Changes) -> Attributes:
        return await self._pass(path, self._remote.mkdir(path, changes))

    async def symlink(self, path: Path, target: bytes, changes: Changes) -> Attributes:
        return await self._pass(path, self._remote.symlink(path, target, changes))

    async def readlink(self, path: Path) -> bytes:
        return await self._pass(path, self._remote.readlink(path))

    async def mknod(self, path: Path, mode: int, rdev: int, changes: Changes) -> Attributes:
        return await self._pass(path, self._remote.mknod(path, mode, rdev, changes))

    async def link(self, existing: Path, path: Path) -> Attributes:
        return await self._pass(path, self._remote.link(existing, path))

    async def remove(self, path: Path) -> None:
        await self._pass(path, self._remote.remove(path))

    async def rmdir(self, path: Path) -> None:
        await self._pass(path, self._remote.rmdir(path))

    async def rename(self, old: Path, new: Path, *, replace: bool = True) -> Attributes:
        return await self._pass(new, self._remote.rename(old, new, replace=replace))

    async def exchange(self, one: Path, other: Path) -> None:
        await self._pass(other, self._remote.exchange(one, other))

    async def set_attributes(self, path: Path, changes: Changes, base: Version | None = None) -> Attributes:
        return await self._pass(path, self._remote.set_attributes(path, changes, base))

    async def authorize(self, path: Path) -> None:
        await self._pass(path, self._remote.authorize(path))

    async def get_xattrs(self, path: Path) -> Mapping[bytes, bytes]:
        return await self._pass(path, self._remote.get_xattrs(path))

    async def set_xattr(self, path: Path, name: bytes, value: bytes | None) -> Attributes:
        return await self._pass(path, self._remote.set_xattr(path, name, value))

    async def sync(self, path: Path) -> None:
        await self._pass(path, self._remote.sync(path))

    async def space(self) -> Space:
        return await self._pass(b"", self._remote.space())

    async def close(self) -> None:
        await self._remote.close()
