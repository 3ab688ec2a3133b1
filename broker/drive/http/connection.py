"""A client's connection to a server: requests, their answers, tokens and tries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct, field

from broker.drive.errors import DriveError, Malformed, Tampered, Unauthenticated, Unreachable
from broker.drive.format.auth import sign_login
from broker.drive.format.identity import Identity
from broker.drive.http import routes
from broker.drive.http.codec import LATER, MSGPACK, decode, encode, error_of
from broker.drive.http.exchange import Answer, Exchange
from broker.drive.http.messages import Empty, Login, Server
from broker.drive.http.origins import origin_of
from broker.drive.http.retrying import Lost, Patience, patiently
from broker.drive.http.routes import Answered, Asked, Route

_Message = TypeVar("_Message")

ANSWER_MAX = 192 << 20
"""Bytes of an answer: what is longer is not read to its end."""

RETRY_AFTER_MAX = 10.0
_NONE = Patience(total=0.0)
_TOLD_AGAIN = 60.0
"""Seconds after which the user is told once more that the server does not answer."""


class Options(Struct, frozen=True):
    """`ca` is a PEM file of those who certify the server; `insecure` allows HTTP without TLS beyond this machine."""

    ca: str | None = None
    insecure: bool = False
    patience: Patience = field(default_factory=Patience)
    silence: float = 60.0
    """Seconds without a byte after which an attempt has failed."""
    tell: Callable[[str], None] = field(default=lambda line: None)
    """Tells the user why he waits."""


class Connection:
    """Requests to one server; as one user when there is an identity. Use it on one event loop only."""

    def __init__(self, url: str, identity: Identity | None = None, options: Options | None = None) -> None:
        """Malformed, with what to do, if the URL or the options cannot be used. Nothing is sent yet."""
        self.options = options or Options()
        self.origin = origin_of(url, insecure=self.options.insecure)
        self._identity = identity
        self._token: str | None = None
        self._entering = asyncio.Lock()
        self._meeting = asyncio.Lock()
        self._server: Server | None = None
        self._told = -_TOLD_AGAIN
        self._answers = 0
        self._given_up = False
        self._exchange = Exchange(self.origin, ca=self.options.ca, silence=self.options.silence)

    async def server(self) -> Server:
        """What the server says of itself, asked once."""
        async with self._meeting:
            if self._server is None:
                data = await self._patiently(lambda: self._send("GET", routes.SERVER, None, None))
                self._server = _understood(data, Server)
            return self._server

    async def ask(self, route: Route[Asked, Answered], message: Asked) -> Answered:
        """The answer. DriveError: what the server says, or Unreachable. Sent again when it may have been lost, so a
        commit must have its operation."""
        body = encode(message)
        if route.stranger:
            data = await self._patiently(lambda: self._send("POST", route.path, body, None))
        else:
            data = await self.send("POST", route.path, body)
        return _understood(data, route.answered)

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | memoryview | None,
        media: str = MSGPACK,
        *,
        most: int = ANSWER_MAX,
    ) -> bytes:
        """One request as the user, logged in before where needed; the answer's body, of at most `most` bytes."""

        async def attempt() -> bytes:
            token = await self._enter()
            try:
                return await self._send(method, path, body, token, media, most)
            except Unauthenticated:
                self._forget(token)
            return await self._send(method, path, body, await self._enter(), media, most)

        return await self._patiently(attempt)

    async def close(self) -> None:
        """The token is made worthless if the server can be told so without waiting for it."""
        if self._token is not None:
            try:
                await asyncio.wait_for(self._send("POST", routes.LOGOUT.path, encode(Empty()), self._token), 1.0)
            except (DriveError, TimeoutError):
                pass
        await self._exchange.close()

    async def _patiently(self, request: Callable[[], Awaitable[bytes]]) -> bytes:
        """A server that was waited for in vain is not waited for again before it has answered something: otherwise
        every call of a program would take so long."""
        answers = self._answers
        try:
            return await patiently(request, _NONE if self._given_up else self.options.patience, self._waits)
        except Lost:
            self._given_up = self._answers == answers
            raise

    def _waits(self, error: Lost) -> None:
        now = time.monotonic()
        if now - self._told >= _TOLD_AGAIN:
            self._told = now
            self.options.tell(f"{error}; it is asked for {self.options.patience.total:g} s, interrupt to leave")

    def _forget(self, token: str) -> None:
        if self._token == token:
            self._token = None

    async def _enter(self) -> str:
        """The token; one task logs in for all that wait."""
        async with self._entering:
            if self._token is None:
                self._token = await self._log_in()
            return self._token

    async def _log_in(self) -> str:
        if self._identity is None:
            raise Unauthenticated("this connection has no identity")
        challenge = _understood(
            await self._send("POST", routes.CHALLENGE.path, encode(Empty()), None), routes.CHALLENGE.answered
        )
        signature = sign_login(self._identity, challenge.nonce, challenge.expires)
        login = Login(self._identity.user_id, challenge.nonce, signature)
        try:
            data = await self._send("POST", routes.LOGIN.path, encode(login), None)
        except Unauthenticated as error:
            raise await self._stranger(error) from error
        return _understood(data, routes.LOGIN.answered).token

    async def _stranger(self, error: Unauthenticated) -> Exception:
        """Why the server does not know us: perhaps it is not the one that the key was made for."""
        assert self._identity is not None
        if (await self.server()).server_id != self._identity.server_id:
            return Tampered(f"{self.origin} is not the server that the key of {self._identity.name} was made for")
        return error

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | memoryview | None,
        token: str | None,
        media: str = MSGPACK,
        most: int = ANSWER_MAX,
    ) -> bytes:
        headers = {"accept": MSGPACK}
        if body is not None:
            headers["content-type"] = media
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        answer = await self._exchange(method, self.origin + path, headers, body, most)
        self._answers += 1
        self._given_up = False
        if answer.status == 200:
            return answer.body
        error = error_of(self.origin, answer.status, answer.body, answer.headers.get("content-type", ""))
        if isinstance(error, Unreachable) and answer.status in LATER:
            raise Lost(str(error), _retry_after(answer))
        raise error


def _understood(data: bytes, kind: type[_Message]) -> _Message:
    """The server's answer; one that no server gives is Unreachable."""
    try:
        return decode(data, kind)
    except Malformed as error:
        raise Unreachable(f"the server's answer is {error}") from error


def _retry_after(answer: Answer) -> float:
    """The header's seconds (RFC 9110, 10.2.3), within reason; its other form, a date, is not heeded."""
    try:
        return min(max(float(answer.headers.get("retry-after", "0")), 0.0), RETRY_AFTER_MAX)
    except ValueError:
        return 0.0
