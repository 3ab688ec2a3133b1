"""Two users of one server, the first of whom has something to share."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.drive.format.chunks import CHUNK
from broker.drive.format.identity import parse_fingerprint
from broker.drive.metadata.protocol import Commit, Committed, PutEntry
from broker.drive.records import Right
from broker.remotes.drive.clients import Client
from tests.broker.drive.server.serving import Served as Server

from ..helpers import NOTHING, put
from .users import address, serving, user


@dataclass
class Team:
    server: Server
    alice: Client
    bob: Client
    folder: Path

    async def share(self, path: bytes, right: Right = Right.READ, to: Client | None = None) -> None:
        name, fingerprint = address(to or self.bob)
        record = await self.alice.sharing.record_of(name, parse_fingerprint(fingerprint))
        await self.alice.sharing.share(lambda: self.alice.place(path), record, right)
        await self.refresh(to or self.bob)

    async def unshare(self, path: bytes, of: Client | None = None) -> int:
        count = await self.alice.sharing.unshare(await self.alice.place(path), (of or self.bob).identity.user_id)
        await self.refresh(of or self.bob)
        return count

    async def refresh(self, client: Client) -> None:
        """Not wait until the list of shares is asked for again."""
        assert client.view
        await client.view.shares.refresh()


@asynccontextmanager
async def team(folder: Path) -> AsyncIterator[Team]:
    """Alice with some files, and Bob with none."""
    async with serving(folder) as server:
        alice, bob = await user(server, folder, "alice"), await user(server, folder, "bob")
        await alice.remote.mkdir(b"alice/report", NOTHING)
        await alice.remote.mkdir(b"alice/report/deep", NOTHING)
        await put(alice.remote, b"alice/report/short", b"the text")
        await put(alice.remote, b"alice/report/deep/long", os.urandom(2 * CHUNK))
        await put(alice.remote, b"alice/private", b"nobody's business")
        try:
            yield Team(server, alice, bob, folder)
        finally:
            await alice.close()
            await bob.close()


class Killed(BaseException):
    """The end of a session, at once."""


@contextmanager
def killed_before(client: Client, wanted: Callable[[Commit], bool]) -> Iterator[None]:
    """What is done within is killed before the first commit that is `wanted`, if there is one."""
    store = client.core.store
    honest = store.commit

    async def commit(commit: Commit) -> Committed:
        if wanted(commit):
            raise Killed
        return await honest(commit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "commit", commit)
        with suppress(Killed):
            yield


def of_keys(commit: Commit) -> bool:
    """Whether it is one of the walk that changes keys."""
    return any(isinstance(change, PutEntry) for change in commit.changes)
