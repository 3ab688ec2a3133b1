"""Each test runs on SQLite and on PostgreSQL, with an empty database of its own."""

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


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/metadata.sqlite"
    server: Server = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture
def with_store(url: str) -> WithStore:
    """Run a coroutine function on a new store. Nodes need no signatures."""

    def run(test: Test) -> None:
        async def main() -> None:
            store = await open_store(url, create=True, signed=None)
            try:
                await test(store)
            finally:
                await store.close()

        asyncio.run(main())

    return run
