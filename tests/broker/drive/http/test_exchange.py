"""A client and servers that are none, or hostile."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from pathlib import Path

import pytest

from broker.drive.errors import DriveError, Missing, Unreachable
from broker.drive.http.codec import encode
from broker.drive.http.connection import Connection, Options
from broker.drive.http.exchange import Exchange
from broker.drive.http.messages import Failure, Server
from broker.drive.http.retrying import Lost, Patience
from tests.broker.drive.answering import answering, http
from tests.broker.drive.certificates import certificate

ABOUT = encode(Server(b"x" * 16, "https://drive.example", False, False))


async def about(url: str, ca: str | None = None) -> Server:
    connection = Connection(url, options=Options(ca=ca, patience=Patience(total=0.0)))
    try:
        return await connection.server()
    finally:
        await connection.close()


def test_a_good_answer_is_understood() -> None:
    async def run() -> None:
        async with answering(http("200 OK", ABOUT)) as (url, asked):
            assert (await about(url)).origin == "https://drive.example"
            assert b"accept-encoding: identity" in asked[0].lower()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http("302 Found", location="http://127.0.0.1:1/elsewhere"), Unreachable),
        (http("200 OK", b"\xc1 not a message"), Unreachable),
        (http("200 OK", b"[" * 10_000), Unreachable),
        (http("200 OK", gzip.compress(ABOUT), content_encoding="gzip"), Unreachable),
        (http("404 Not Found", encode(Failure("missing", "no\x1b[31m such\nthing"))), Missing),
        (http("418 Teapot", encode(Failure("unheard-of", "x"))), Unreachable),
        (http("500 Oops", b"<html>"), Lost),
        (http("503 Later", encode(Failure("unreachable", "x")), retry_after="junk"), Lost),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", Lost),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Lost),
        (b"", Lost),
    ],
)
def test_other_answers_are_errors(answer: bytes, kind: type[DriveError]) -> None:
    """Of the kind that says whether to try again; nothing in them can act on a terminal. No redirect is followed."""

    async def run() -> None:
        async with answering(answer) as (url, asked):
            with pytest.raises(DriveError) as raised:
                await about(url)
            assert type(raised.value) is kind
            assert str(raised.value).isprintable()
            assert len(asked) == 1

    asyncio.run(run())


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    async def run() -> None:
        async with answering(http("200 OK", bytes(100_000))) as (url, _):
            exchange = Exchange(url)
            with pytest.raises(Unreachable, match="more than 1000 bytes"):
                await exchange("GET", url, {}, None, 1000)
            await exchange.close()

    asyncio.run(run())


def test_a_silent_server_is_not_waited_for_for_ever() -> None:
    async def run() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        exchange = Exchange(url, silence=0.2)
        with pytest.raises(Lost):
            await exchange("GET", url, {}, None, 1000)
        await exchange.close()
        server.close()

    asyncio.run(run())


def test_proxies_are_not_for_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says; elsewhere, what it says holds."""

    async def run() -> None:
        async with (
            answering(http("502 Proxy", b"")) as (proxy, through),
            answering(http("200 OK", ABOUT)) as (url, _),
        ):
            for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
                monkeypatch.setenv(variable, proxy)
            assert await about(url)
            assert not through
            exchange = Exchange("http://drive.example")
            answer = await exchange("GET", "http://drive.example/server", {}, None, 1000)
            assert answer.status == 502 and through[0].startswith(b"GET http://drive.example/server")
            await exchange.close()

    asyncio.run(run())


def test_a_certificate_that_nobody_trusts_ends_the_attempt(tmp_path: Path) -> None:
    """It is not tried again; with the authority given as `ca`, the server is believed."""
    context, authority = context_of(tmp_path, "localhost")

    async def run() -> None:
        async with answering(http("200 OK", ABOUT), context) as (url, asked):
            with pytest.raises(Unreachable, match="cannot show that it is who it should be") as raised:
                await about(url)
            assert type(raised.value) is Unreachable and not asked
            assert await about(url, authority)

    asyncio.run(run())


def test_a_certificate_of_another_name_is_not_believed(tmp_path: Path) -> None:
    context, authority = context_of(tmp_path, "elsewhere.example")

    async def run() -> None:
        async with answering(http("200 OK", ABOUT), context) as (url, asked):
            with pytest.raises(Unreachable, match="cannot show"):
                await about(url, authority)
            assert not asked

    asyncio.run(run())


def context_of(folder: Path, host: str) -> tuple[ssl.SSLContext, str]:
    """A server's context, and the file with the authority: itself."""
    cert, key = certificate(folder, host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert


def test_closing_never_fails() -> None:
    """Also where the server cannot forget the token, or is gone."""

    async def run() -> None:
        for answer in (http("507 Full", encode(Failure("full", "x"))), b""):
            async with answering(answer) as (url, asked):
                connection = Connection(url)
                connection._token = "token"
                await connection.close()
                assert asked

    asyncio.run(run())
