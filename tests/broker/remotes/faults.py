"""A decorator that makes any remote as bad as a test wants it, and its URL for tests of the whole program."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import parse_qs

from msgspec.structs import replace

from broker.errors import SetupError
from broker.remotes.around import Around
from broker.remotes.paths import Path
from broker.remotes.protocol import Attributes, Changes, Entry, Remote, Step, Version, unseen
from broker.remotes.registry import SCHEMES as RELEASED
from broker.remotes.registry import Factory, open_remote
from broker.remotes.witness import Witness
from broker.settings import RemoteSettings

from .control import Controlled
from .plans import Moment, Passing

_T = TypeVar("_T")


class Faulty(Around):
    """Each operation of `remote` passes `plan` before it, between its pages, and after it."""

    def __init__(self, remote: Remote, plan: Passing) -> None:
        super().__init__(remote)
        self._plan = plan

    @property
    def witness(self) -> Witness | None:
        """Nobody gets by the plan."""
        return None

    async def list(self, path: Path) -> AsyncIterator[Sequence[Entry]]:
        async with self._plan.passing("list", path) as passage:
            async for page in super().list(path):
                yield page
                await passage.reach(Moment.BETWEEN)
            await passage.reach(Moment.AFTER)

    async def read(self, path: Path, version: Version, offset: int, length: int) -> bytes:
        return await self._pass(path, super().read(path, version, offset, length))

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
        return await self._pass(path, super().write(path, source, base, changes, durable=durable, step=step))

    async def authorize(self, path: Path) -> None:
        await self._remote.authorize(path)

    async def _pass(self, path: Path, work: Coroutine[Any, Any, _T]) -> _T:
        """`work` is called as its operation is. One that the plan does not let through is never awaited."""
        with contextlib.closing(work):
            async with self._plan.passing(work.__name__, path) as passage:
                result = await work
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
