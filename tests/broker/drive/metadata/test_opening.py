"""Opening a store: empty databases, other schemas, several who create it at once, migrations."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, text, update

from broker.drive.errors import Unreachable, Unusable
from broker.drive.format.identity import new_identity
from broker.drive.metadata import schema
from broker.drive.metadata.database import Database
from broker.drive.metadata.migrations import migrate
from broker.drive.metadata.store import open_store
from broker.remotes.drive.home import new_home
from tests.broker.drive.metadata.postgresql import Server


async def _server_id(url: str, *, create: bool = False) -> bytes:
    store = await open_store(url, create=create)
    try:
        await store.check()
        return await store.accounts.server_id()
    finally:
        await store.close()


def _set_version(connection: Connection, version: int) -> None:
    connection.execute(update(schema.store).values(version=version))


async def _pretend(url: str, version: int) -> None:
    database = Database(url)
    await database.write(_set_version, version)
    await database.close()


def test_a_store_is_made_when_asked_for(new_url: str) -> None:
    """An empty database is refused, then made into a store; it is the same one ever after."""

    async def main() -> None:
        with pytest.raises(Unusable, match=r"creates|does not exist"):
            await _server_id(new_url)
        made = await _server_id(new_url, create=True)
        assert len(made) == 16
        assert await _server_id(new_url, create=True) == await _server_id(new_url) == made

    asyncio.run(main())


def test_looking_makes_no_file(tmp_path: Path) -> None:
    """A path that is mistyped is said to be no store, and stays nothing."""
    for url in (f"sqlite:///{tmp_path}/mistyped.sqlite", f"sqlite:///{tmp_path}/none/metadata.sqlite"):
        with pytest.raises(Unusable, match="does not exist"):
            asyncio.run(_server_id(url))
    with pytest.raises(Unusable, match="no such folder"):
        asyncio.run(_server_id(f"sqlite:///{tmp_path}/none/metadata.sqlite", create=True))
    assert os.listdir(tmp_path) == []


def test_several_create_one_store(new_url: str) -> None:
    """All who open an empty database at once get the same store."""

    async def main() -> None:
        found = await asyncio.gather(*(_server_id(new_url, create=True) for _ in range(6)))
        assert len(set(found)) == 1

    asyncio.run(main())


def test_another_schema_is_refused_with_the_remedy(new_url: str) -> None:
    """An older one wants to be migrated, a newer one another program; neither is touched."""

    async def main() -> None:
        await _server_id(new_url, create=True)
        await _pretend(new_url, schema.VERSION - 1)
        with pytest.raises(Unusable, match="migrate"):
            await _server_id(new_url)
        await _pretend(new_url, schema.VERSION + 1)
        with pytest.raises(Unusable, match="newer program"):
            await _server_id(new_url, create=True)
        with pytest.raises(Unusable, match="newer program"):
            await migrate(new_url)

    asyncio.run(main())


def test_migration_goes_step_by_step_or_not_at_all(new_url: str) -> None:
    """Steps are taken in order in one transaction; when one fails, the database is as it was."""
    first, last = schema.VERSION, schema.VERSION + 2

    def add(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE users ADD COLUMN colour INTEGER"))

    def fill(connection: Connection) -> None:
        connection.execute(text("UPDATE users SET colour = 1"))

    def fail(connection: Connection) -> None:
        raise Unusable("no")

    async def main() -> None:
        with pytest.raises(Unusable, match=r"empty|does not exist"):
            await migrate(new_url)
        await _server_id(new_url, create=True)
        assert await migrate(new_url) == []
        with pytest.raises(Unusable, match="no"):
            await migrate(new_url, {first: add, first + 1: fail}, last)
        assert await _server_id(new_url)
        assert await migrate(new_url, {first: add, first + 1: fill}, last) == [first, first + 1]
        with pytest.raises(Unusable, match=f"schema {last}"):
            await _server_id(new_url)

    asyncio.run(main())


@pytest.mark.parametrize("url", ["nonsense", "mysql://localhost/x", "sqlite://", "sqlite:////no/such/folder/x"])
def test_what_is_no_database_is_refused(url: str) -> None:
    """With what can be written instead, or with the file and the reason."""
    with pytest.raises(Unusable, match=r"sqlite:///FILE|does not exist"):
        asyncio.run(_server_id(url))


def test_no_server_is_unreachable() -> None:
    """A PostgreSQL that nobody answers for."""
    with pytest.raises(Unreachable):
        asyncio.run(_server_id("postgresql://postgres@127.0.0.1:1/none"))


def test_nobody_else_reads_the_file(tmp_path: Path) -> None:
    """An embedded database and what SQLite keeps beside it are for the owner only, whatever the umask."""

    async def main() -> None:
        store = await open_store(f"sqlite:///{tmp_path}/metadata.sqlite", create=True)
        files = list(tmp_path.iterdir())
        assert len(files) > 1
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        await store.close()

    before = os.umask(0)
    try:
        asyncio.run(main())
    finally:
        os.umask(before)


def test_opening_it_again_leaves_the_locks_of_the_first_alone(tmp_path: Path) -> None:
    """Without them the next process to leave takes itself for the last, and removes the log that is still written to
    (sqlite3WalClose in wal.c)."""
    url = f"sqlite:///{tmp_path}/metadata.sqlite"
    program = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('SELECT * FROM store'); d.close()"

    async def main() -> None:
        first = await open_store(url, create=True, at_once=True)
        for create in (False, True):
            await (await open_store(url, create=create, at_once=True)).close()
            leaving = await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, url.removeprefix("sqlite:///")
            )
            assert await leaving.wait() == 0
            assert (tmp_path / "metadata.sqlite-wal").exists()
        await first.close()

    asyncio.run(main())


def test_a_database_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """With what to do: SQLite itself says neither."""
    url = f"sqlite:///{tmp_path}/m.sqlite"

    def write(connection: Connection) -> None:
        connection.execute(text("PRAGMA query_only = ON"))
        connection.execute(text("UPDATE users SET name = 'x'"))

    async def main() -> None:
        await _server_id(url, create=True)
        database = Database(url)
        try:
            with pytest.raises(Unreachable, match=rf"database {tmp_path}/m.sqlite: .*let this user write"):
                await database.write(write)
        finally:
            await database.close()

    asyncio.run(main())


def test_a_database_without_an_encoding(postgresql: Server) -> None:
    """As a cluster has them that was made where no locale was set; names of users are kept all the same."""

    async def run() -> None:
        store = await open_store(postgresql.new_database("ENCODING 'SQL_ASCII' TEMPLATE template0"), create=True)
        try:
            identity = new_identity("älice", "https://drive.example", await store.accounts.server_id())
            await store.accounts.register(identity.record.encode(), new_home(identity))
            assert (await store.for_user(identity.user_id).user("älice")).id == identity.user_id
        finally:
            await store.close()

    asyncio.run(run())
