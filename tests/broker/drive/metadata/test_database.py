"""Transactions: what they see of each other, what survives, what is tried again, and what their errors say."""

from __future__ import annotations

import asyncio
import socket

import psycopg
import pytest
from sqlalchemy import Connection, delete, insert, select, text

from broker.drive.errors import DriveError
from broker.drive.metadata import schema
from broker.drive.metadata.database import Database
from broker.drive.metadata.store import SqlStore
from tests.broker.drive.metadata.helpers import WithStore, entry, new_node, register
from tests.broker.drive.metadata.postgresql import Server


def _setting(connection: Connection) -> str:
    name = "PRAGMA synchronous" if connection.dialect.name == "sqlite" else "SHOW synchronous_commit"
    return str(connection.execute(text(name)).scalar_one())


def test_durable_writes_wait_for_the_disk(with_store: WithStore) -> None:
    """In any order on the same connections: FULL on SQLite where it is asked for, and always on PostgreSQL, whose
    crash would take other commits with it."""

    async def test(store: SqlStore) -> None:
        for _ in range(2):
            assert await store.database.write(_setting) in ("1", "on")
            assert await store.database.write_durably(_setting) in ("2", "on")

    with_store(test)


def test_a_read_sees_one_state(with_store: WithStore) -> None:
    """What is committed between two queries of a read is in neither."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        loop = asyncio.get_running_loop()

        def twice(connection: Connection) -> tuple[int, int]:
            count = select(schema.nodes.c.links).where(schema.nodes.c.home == alice.home)
            before = len(connection.execute(count).fetchall())
            asyncio.run_coroutine_threadsafe(alice.create(alice.home, "file"), loop).result()
            return before, len(connection.execute(count).fetchall())

        assert await store.database.read(twice) == (1, 1)
        assert len(await alice.names(alice.home)) == 1

    with_store(test)


def test_the_database_itself_refuses_what_leads_nowhere(with_store: WithStore) -> None:
    """Foreign keys restrict: no entry without its folder and node, no folder or node goes while an entry is there."""

    async def test(store: SqlStore) -> None:
        alice = await register(store)
        folder = await alice.folder(alice.home, "folder")
        file = await alice.create(folder.id, "file")
        stray = entry(new_node().id, "stray", file.id).entry
        values = {name: getattr(stray, name) for name in stray.__slots__}
        for statement in (
            insert(schema.entries).values(values),
            insert(schema.entries).values(values | {"parent": folder.id, "child": new_node().id}),
            delete(schema.nodes).where(schema.nodes.c.id == folder.id),
            delete(schema.nodes).where(schema.nodes.c.id == file.id),
        ):
            with pytest.raises(DriveError):
                await store.database.write(lambda connection, s=statement: connection.execute(s) and None)

    with_store(test)


def test_who_comes_second_looks_again(with_store: WithStore) -> None:
    """A transaction that fails because of a key that was not there before runs once more, and sees it."""

    async def test(store: SqlStore) -> None:
        runs = []

        def work(connection: Connection) -> str:
            runs.append(1)
            if len(runs) == 1:
                connection.execute(insert(schema.challenges), [{"nonce": b"same", "expires": 1}] * 2)
            return "found"

        assert await store.database.write(work) == "found"
        assert len(runs) == 2

    with_store(test)


def test_a_database_that_has_gone_without_a_word_is_given_up(postgresql: Server) -> None:
    """By the kernel, within half a minute: on the loopback, nothing is ever lost on its way."""

    def options(connection: Connection) -> tuple[int, int]:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        with socket.fromfd(driver.fileno(), socket.AF_INET, socket.SOCK_STREAM) as opened:
            names = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT
            idle, interval, count, unsent = (opened.getsockopt(socket.IPPROTO_TCP, name) for name in names)
            return idle + interval * count, unsent

    async def run() -> None:
        database = Database(postgresql.url())
        assert await database.read(options) == (30, 30_000)
        await database.close()

    asyncio.run(run())


def test_errors_do_not_repeat_what_was_stored(with_store: WithStore) -> None:
    """What a user sees of an error has neither statement nor values in it."""

    async def test(store: SqlStore) -> None:
        def work(connection: Connection) -> None:
            connection.execute(text("SELECT * FROM nothing WHERE name = :secret"), {"secret": "planted"})

        with pytest.raises(DriveError) as caught:
            await store.database.read(work)
        assert "nothing" in str(caught.value)
        assert "planted" not in str(caught.value)

    with_store(test)
