"""What is said of a server that gives no answer: one reason, and what to do."""

from __future__ import annotations

import asyncio
import datetime
import re
import ssl
from pathlib import Path

import pytest

from broker.drive.errors import Unreachable
from broker.drive.http.connection import Connection, Options
from broker.drive.http.exchange import Exchange
from broker.drive.http.retrying import Lost, Patience
from tests.broker.drive.answering import answering, http
from tests.broker.drive.certificates import HOUR, certificate
from tests.broker.drive.seaweed import free_ports


async def said_of(url: str, ca: str | None = None) -> Unreachable:
    exchange = Exchange(url, ca=ca)
    try:
        with pytest.raises(Unreachable) as raised:
            await exchange("GET", f"{url}/server", {}, None, 1000)
        return raised.value
    finally:
        await exchange.close()


def test_nobody_listens() -> None:
    (port,) = free_ports(1)
    error = asyncio.run(said_of(f"http://127.0.0.1:{port}"))
    assert isinstance(error, Lost)
    said = f"127.0.0.1:{port} does not answer: Connection refused (is the server running, and the address right?)"
    assert str(error) == said


def test_the_wait_is_told_in_one_sentence() -> None:
    async def run() -> list[str]:
        (port,), told = free_ports(1), list[str]()
        patience = Patience(total=0.02, quiet=0, first=0.001, most=0.002)
        connection = Connection(f"http://127.0.0.1:{port}", options=Options(patience=patience, tell=told.append))
        with pytest.raises(Lost):
            await connection.server()
        await connection.close()
        return told

    (line,) = asyncio.run(run())
    assert re.search(r"right\?\); it is asked for 0\.02 s, interrupt to leave$", line)


def test_plain_http_where_tls_is_expected() -> None:
    """To ask again would be of no use."""

    async def run() -> None:
        async with answering(http("400 Bad Request")) as (url, _):
            error = await said_of(url.replace("http://", "https://"))
            assert type(error) is Unreachable and "does not speak TLS" in str(error)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("begins", "known", "words"),
    [
        (-HOUR, False, "self-signed certificate; the certificates of those who certify it can be named (--ca for"),
        (-3 * HOUR, True, "certificate has expired; if it is good, the clock of this machine is wrong"),
        (HOUR, True, "certificate is not yet valid; if it is good, the clock of this machine is wrong"),
    ],
)
def test_certificates(tmp_path: Path, begins: datetime.timedelta, known: bool, words: str) -> None:
    cert, key = certificate(tmp_path, "localhost", begins)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    async def run() -> None:
        async with answering(b"", context) as (url, _):
            error = await said_of(url, cert if known else None)
            assert type(error) is Unreachable
            assert f"cannot show that it is who it should be: {words}" in str(error)

    asyncio.run(run())


def test_another_kind_of_server() -> None:
    """Of what answers as no server of ours the address is named; of a proxy before one, the status alone."""

    async def run(status: str) -> str:
        async with answering(http(status, b"<html>")) as (url, _):
            connection = Connection(url, options=Options(patience=Patience(total=0)))
            with pytest.raises(Unreachable) as raised:
                await connection.server()
            await connection.close()
            return str(raised.value).replace(url, "URL")

    foreign = "URL answers with status 403, as no server of seccomp-drive does: look at the address again"
    assert asyncio.run(run("403 Forbidden")) == foreign
    assert asyncio.run(run("502 Bad Gateway")) == "URL answers with status 502"
