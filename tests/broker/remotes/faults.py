"""A decorator that makes any remote as bad as a test wants it, and its URL for tests of the whole program."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import parse_qs

from broker.errors import SetupError
from broker.remotes.protocol import (
    Attributes,
    Capabilities,
    Changes,
    Entry,
    Path,
    Remote,
    Space,
    Step,
    Version,
    unseen,
)
from broker.remotes.registry import SCHEMES as RELEASED
from broker.remotes.registry import Factory, open_remote
from broker.settings import RemoteSettings

from .control import Controlled
from .plans import Moment, Passing

_T = TypeVar("_T")


class Faulty:
    """Each operation of `remote` passes `plan` before it, between its pages, and after it."""

    def __init__(self, remote: Remote, plan: Passing) -> None:
        self._remote = remote
        self._plan = plan

    @property
    def capabilities(self) -> Capabilities:
        return self._remote.capabilities

    async def stat(self, path: Path) -> Attributes:
        return await self._pass("stat", path, lambda: self._remote.stat(path))

    async def list(self, path: Path) -> AsyncIterator[Sequence[Entry]]:
        async with self._plan.passing("list", path) as passage:
            async for page in self._remote.list(path):
                yield page
                await passage.reach(Moment.BETWEEN)
            await passage.reach(Moment.AFTER)

    async def read(self, path: Path, version: Version, offset: int, length: int) -> bytes:
        return await self._pass("read", path, lambda: self._remote.read(path, version, offset, length))

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
        return await self._pass(
            "write", path, lambda: self._remote.write(path, source, base, changes, durable=durable, step=step)
        )

    async def mkdir(self, path: Path, changes: Changes) -> Attributes:
        return await self._pass("mkdir", path, lambda: self._remote.mkdir(path, changes))

    async def symlink(self, path: Path, target: bytes, changes: Changes) -> Attributes:
        return await self._pass("symlink", path, lambda: self._remote.symlink(path, target, changes))

    async def readlink(self, path: Path) -> bytes:
        return await self._pass("readlink", path, lambda: self._remote.readlink(path))

    async def mknod(self, path: Path, mode: int, rdev: int, changes: Changes) -> Attributes:
        return await self._pass("mknod", path, lambda: self._remote.mknod(path, mode, rdev, changes))

    async def link(self, existing: Path, path: Path) -> Attributes:
        return await self._pass("link", path, lambda: self._remote.link(existing, path))

    async def remove(self, path: Path) -> None:
        await self._pass("remove", path, lambda: self._remote.remove(path))

    async def rmdir(self, path: Path) -> None:
        await self._pass("rmdir", path, lambda: self._remote.rmdir(path))

    async def rename(self, old: Path, new: Path, *, replace: bool = True) -> Attributes:
        return await self._pass("rename", new, lambda: self._remote.rename(old, new, replace=replace))

    async def exchange(self, one: Path, other: Path) -> None:
        await self._pass("exchange", other, lambda: self._remote.exchange(one, other))

    async def set_attributes(self, path: Path, changes: Changes) -> Attributes:
        return await self._pass("set_attributes", path, lambda: self._remote.set_attributes(path, changes))

    async def authorize(self, path: Path) -> None:
        await self._remote.authorize(path)

    async def get_xattrs(self, path: Path) -> Mapping[bytes, bytes]:
        return await self._pass("get_xattrs", path, lambda: self._remote.get_xattrs(path))

    async def set_xattr(self, path: Path, name: bytes, value: bytes | None) -> Attributes:
        return await self._pass("set_xattr", path, lambda: self._remote.set_xattr(path, name, value))

    async def space(self) -> Space:
        return await self._pass("space", b"", lambda: self._remote.space())

    async def close(self) -> None:
        await self._remote.close()

    async def _pass(self, operation: str, path: Path, act: Callable[[], Awaitable[_T]]) -> _T:
        async with self._plan.passing(operation, path) as passage:
            result = await act()
            await passage.reach(Moment.AFTER)
            return result


def open_faulty(settings: RemoteSettings) -> Faulty:
    """``faulty+URL?control=/socket``: the remote at URL, its plan in the hands of the `Control` at that socket."""
    url, _, query = settings.url.removeprefix("faulty+").rpartition("?")
    control = parse_qs(query).get("control")
    if not url or not control:
        raise SetupError(f"{settings.url}: no ?control=/socket: name the socket of the test")
    return Faulty(open_remote(replace(settings, url=url)), Controlled(control[0]))


SCHEMES: Mapping[str, Factory] = MappingProxyType({**RELEASED, "faulty+file": open_faulty})
"""For `open_remote`, and for whatever hands its schemes on to it."""
