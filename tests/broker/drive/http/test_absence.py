"""How long a server that is away is waited for."""

from __future__ import annotations

import asyncio
import time

import pytest

from broker.drive.errors import Unreachable
from broker.drive.http import routes
from broker.drive.http.connection import Connection, Options
from broker.drive.http.messages import Empty
from broker.drive.http.retrying import Lost, Patience
from tests.broker.drive.answering import answering, http
from tests.broker.drive.seaweed import free_ports

PATIENCE = Patience(total=0.5, first=0.1, most=0.1)


async def asked(connection: Connection) -> float:
    """How long a request takes that has no good answer."""
    began = time.monotonic()
    with pytest.raises(Unreachable):
        await connection.ask(routes.CHALLENGE, Empty())
    return time.monotonic() - began


def test_it_is_waited_for_once() -> None:
    """Until it has answered: what it says does not matter."""

    async def run() -> None:
        (port,) = free_ports(1)
        connection = Connection(f"http://127.0.0.1:{port}", options=Options(patience=PATIENCE))
        assert await asked(connection) > 0.3
        assert await asked(connection) < 0.1
        async with answering(http("403 No"), port=port):
            await asked(connection)
        assert await asked(connection) > 0.3
        await connection.close()

    asyncio.run(run())


def test_one_that_has_too_much_to_do_is_not_away() -> None:
    async def run() -> None:
        async with answering(http("503 Later")) as (url, requests):
            connection = Connection(url, options=Options(patience=PATIENCE))
            for _ in range(2):
                requests.clear()
                with pytest.raises(Lost):
                    await connection.ask(routes.CHALLENGE, Empty())
                assert len(requests) > 1
            await connection.close()

    asyncio.run(run())
