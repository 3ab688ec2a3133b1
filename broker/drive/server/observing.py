"""Around every request: its place among the others, its line in the log, its part in the numbers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from broker.drive.server.answers import refusal
from broker.drive.server.limits import Busy, Gate
from broker.drive.server.logs import LOG
from broker.drive.server.metrics import Metrics

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

DRAIN = 4 << 20
"""Bytes of a body that nobody wants which are taken in all the same."""

_NOTES = "seccomp_drive.notes"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


def request_id(scope: Scope) -> str:
    """As it stands in the log."""
    return str(scope[_NOTES].id)


def note(scope: Scope, *, error: Exception | None = None, **fields: str) -> None:
    """Say something of the request in its line. Never anything that it has sent."""
    notes: _Seen = scope[_NOTES]
    notes.fields.update(fields)
    notes.error = error or notes.error


class Observing:
    """The ASGI application `inner`, observed."""

    def __init__(self, inner: Application, gate: Gate, metrics: Metrics, silence: float) -> None:
        """`silence`: seconds in which the rest of a refused body must come."""
        self._inner = inner
        self._silence = silence
        self._gate = gate
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        seen = scope[_NOTES] = _Seen(receive, send, self._silence)
        try:
            with self._gate.request():
                await self._inner(scope, seen.receive, seen.send)
        except Busy as error:
            await refusal(error)(scope, seen.receive, seen.send)
        finally:
            self._tell(scope, seen)

    def _tell(self, scope: Scope, seen: _Seen) -> None:
        seconds = time.monotonic() - seen.begun
        route = seen.fields.pop("route", "other")
        status = seen.status or 499  # as nginx says of a client that has gone
        self._metrics.answered(route, status, seconds, seen.received, seen.sent)
        fields = {
            "id": seen.id,
            "method": scope["method"] if scope["method"] in _METHODS else "other",
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "in": seen.received,
            "out": seen.sent,
            **seen.fields,
        }
        ours = status >= 500 and seen.error is not None
        LOG.log(40 if ours else 20, "request", extra={"fields": fields}, exc_info=seen.error if ours else None)


class _Seen:
    """One request, as its messages pass."""

    def __init__(self, receive: Receive, send: Send, silence: float) -> None:
        self.id = secrets.token_hex(4)
        self.begun = time.monotonic()
        self.fields: dict[str, str] = {}
        self.error: Exception | None = None
        self.status: int | None = None
        self.received = self.sent = 0
        self._whole = False
        self._silence = silence
        self._receive = receive
        self._send = send

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self.received += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status not in (408, 413):
                await self._drain()
        self.sent += len(message.get("body", b""))
        await self._send(message)

    async def _drain(self) -> None:
        """Take in what is left of the body, within reason: who is still sending when the connection is closed may
        never see the answer (RFC 9112, 9.6)."""
        most = self.received + DRAIN
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._silence):
                while not self._whole and self.received < most:
                    await self.receive()
