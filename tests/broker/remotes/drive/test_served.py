"""A drive behind a server: the same remote, at the user's name."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import eager
from broker.drive.errors import NameTaken, Unusable
from broker.drive.http.codec import encode
from broker.drive.http.messages import Server
from broker.drive.keyring import KeyringError
from broker.remotes.drive.locations import Served, locate
from broker.remotes.drive.served import join, open_served
from broker.remotes.protocol import AlreadyExists, Attributes, Forbidden, NotFound, Remote
from broker.settings import RemoteSettings
from tests.broker.drive.answering import answering, http

from ..conformance import Conformance
from ..helpers import NOTHING, content_of, names_in, put
from .users import place_of, serving, user


@pytest.fixture
def server_elsewhere(tmp_path: Path) -> Iterator[object]:
    """A server on a loop and a thread of its own, for tests whose loop is not theirs."""
    started, done = threading.Event(), asyncio.Event()
    found: list[object] = []

    async def run() -> None:
        async with serving(tmp_path) as server:
            found.extend([server, asyncio.get_running_loop()])
            started.set()
            await done.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert started.wait(30)
    yield found[0]
    loop = found[1]
    assert isinstance(loop, asyncio.AbstractEventLoop)
    loop.call_soon_threadsafe(done.set)
    thread.join()


class TestServed(Conformance):
    @pytest.fixture
    def remote(self, server_elsewhere: object, tmp_path: Path) -> Remote:
        """The user's home as the root: what is above it has rules of its own."""
        where = place_of(server_elsewhere, tmp_path, "alice", below="alice")  # type: ignore[arg-type]
        asyncio.run(join(where, "alice", None, None))
        return open_served(where, {}).remote


async def test_the_folders_above(tmp_path: Path) -> None:
    """The server's root shows the user by his name; nothing can be made or changed there."""
    async with serving(tmp_path) as server:
        alice = await user(server, tmp_path, "alice")
        await put(alice.remote, b"alice/f", b"text")
        assert await names_in(alice.remote, b"") == [b"alice"]
        assert (await alice.remote.stat(b"")).is_directory
        assert await content_of(alice.remote, b"alice/f") == b"text"
        for attempt, error in (
            (put(alice.remote, b"f"), Forbidden),
            (alice.remote.mkdir(b"d", NOTHING), Forbidden),
            (alice.remote.mkdir(b"bob/x", NOTHING), NotFound),
            (alice.remote.rmdir(b"alice"), Forbidden),
            (alice.remote.rename(b"alice", b"carol"), Forbidden),
            (alice.remote.rename(b"alice/f", b"f"), Forbidden),
        ):
            with pytest.raises(error):
                await attempt
        with pytest.raises(NotFound) as caught:
            await alice.remote.stat(b"alice/no")
        assert caught.value.path == b"alice/no"
        for path in (b"alice/no", b"alice/no/more"):
            with pytest.raises(NotFound) as caught:
                (await alice.place(path)).required()
            assert caught.value.path == path
        await alice.close()


async def test_a_folder_of_the_drive_as_a_mount(tmp_path: Path) -> None:
    """The URL can name any folder below, also one whose name is percent-encoded."""
    async with serving(tmp_path) as server:
        alice = await user(server, tmp_path, "alice")
        await alice.remote.mkdir(b"alice/a b", NOTHING)
        await put(alice.remote, b"alice/a b/f", b"text")
        below = open_served(place_of(server, tmp_path, "alice", below="alice/a%20b"), {})
        assert await content_of(below.remote, b"f") == b"text"
        await below.close()
        await alice.close()


async def test_registering(tmp_path: Path) -> None:
    """A name is taken once; a repeated attempt with the same key file finds its own success."""
    async with serving(tmp_path) as server:
        where = place_of(server, tmp_path, "alice")
        first = await join(where, "alice", None, None)
        assert await join(where, "alice", None, None) == first
        with pytest.raises(KeyringError, match="is the key of alice"):
            await join(where, "bob", None, None)
        other = place_of(server, tmp_path, "mallory")
        with pytest.raises(NameTaken):
            await join(other, "alice", None, None)
        assert not Path(other.key).exists()


async def test_nobody_registers_with_a_server_that_is_elsewhere_than_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one behind a proxy without --origin: the key would be for an address where nobody finds it."""
    about = encode(Server(b"x" * 16, "http://127.0.0.1:8000", False, False))
    async with answering(http("200 OK", about)) as (proxy, asked):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        options = {"key": f"{tmp_path}/key", "insecure": True}
        where = locate(RemoteSettings("drive+http://drive.example/", options), {"XDG_STATE_HOME": str(tmp_path)})
        assert isinstance(where, Served)
        with pytest.raises(Unusable, match=r"must give serve --origin http://drive\.example before"):
            await join(where, "alice", None, None)
        assert len(asked) == 1 and not Path(where.key).exists()


async def test_one_user_on_two_machines(tmp_path: Path) -> None:
    """Of two that create or replace the same at once one wins, and both see the same then."""
    async with serving(tmp_path) as server:
        home = await user(server, tmp_path, "alice")
        office = open_served(place_of(server, tmp_path, "alice", "office"), {})
        outcomes = await asyncio.gather(
            put(home.remote, b"alice/f", b"home"), put(office.remote, b"alice/f", b"office"), return_exceptions=True
        )
        assert sorted(isinstance(outcome, Attributes) for outcome in outcomes) == [False, True]
        assert any(isinstance(outcome, AlreadyExists) for outcome in outcomes)
        winner = b"home" if isinstance(outcomes[0], Attributes) else b"office"
        for client in (home, office):
            assert await content_of(client.remote, b"alice/f") == winner
        await office.remote.rename(b"alice/f", b"alice/g")
        assert await names_in(home.remote, b"alice") == [b"g"]
        await home.close()
        await office.close()


async def test_a_call_that_is_started_without_a_task(tmp_path: Path) -> None:
    """As the dispatcher does it, to save a task where nothing has to be waited for."""
    async with serving(tmp_path) as server:
        alice = await user(server, tmp_path, "alice")
        found: list[Attributes] = []

        async def look() -> None:
            found.append(await alice.remote.stat(b"alice"))

        for _ in range(3):
            task = eager.start(look())
            assert task is not None
            await task
        assert len(found) == 3
        await alice.close()
