"""Each test runs on SQLite, with threads and as far as possible without, and on PostgreSQL.

On PostgreSQL a new database takes long: most tests share one, and keep apart by having users of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.drive.metadata.store import open_store
from tests.broker.drive.metadata.helpers import Test, WithStore
from tests.broker.drive.metadata.postgresql import Server, running


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def shared_database(postgresql: Server) -> str:
    return postgresql.new_database()


@pytest.fixture(params=["sqlite", "sqlite at once", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database in which others may have been, but nobody is."""
    if kind != "postgresql":
        return f"sqlite:///{tmp_path}/metadata.sqlite"
    return str(request.getfixturevalue("shared_database"))


@pytest.fixture
def new_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if kind != "postgresql":
        return f"sqlite:///{tmp_path}/metadata.sqlite"
    server: Server = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture
def with_store(url: str, kind: str) -> WithStore:
    """Run a coroutine function on a store. Nodes need no signatures."""
    return lambda test: _run(url, test, at_once="at once" in kind)


@pytest.fixture
def with_new_store(new_url: str, kind: str) -> WithStore:
    """The same, for what concerns all that is in a store."""
    return lambda test: _run(new_url, test, at_once="at once" in kind)


def _run(url: str, test: Test, *, at_once: bool) -> None:
    async def main() -> None:
        store = await open_store(url, create=True, signed=None, at_once=at_once)
        try:
            await test(store)
        finally:
            await store.close()

    asyncio.run(main())
