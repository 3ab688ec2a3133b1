"""Users of a server in this process, each with an open client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from broker.drive.format.identity import fingerprint_text
from broker.remotes.drive.clients import Client
from broker.remotes.drive.locations import Served, locate
from broker.remotes.drive.served import join, open_served
from broker.settings import RemoteSettings
from tests.broker.drive.server.serving import Served as Server
from tests.broker.drive.server.serving import served


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Server]:
    """A small server on the test's own loop."""
    async with served(f"sqlite:///{folder}/metadata.sqlite", f"file://{folder}/blobs") as server:
        yield server


def place_of(server: Server, folder: Path, name: str, machine: str = "", below: str = "") -> Served:
    """Where the drive of a user is; each of his machines has a memory of its own."""
    settings = RemoteSettings(f"drive+{server.url}/{below}", {"key": f"{folder}/{name}.key"})
    found = locate(settings, {"XDG_STATE_HOME": f"{folder}/state-{name}{machine}"})
    assert isinstance(found, Served)
    return found


async def user(server: Server, folder: Path, name: str) -> Client:
    """A new user."""
    where = place_of(server, folder, name)
    await join(where, name, None, None)
    return open_served(where, {})


def address(client: Client) -> tuple[str, str]:
    """(name, fingerprint) as one user tells it to another."""
    return client.identity.name, fingerprint_text(client.identity.user_id)
