"""Answers: messages, and errors with a status of their own."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.drive.errors import DriveError
from broker.drive.http.codec import BYTES, JSON, MSGPACK, encode, failure_of, status_of
from broker.drive.http.messages import Failure
from broker.drive.server.bodies import NoLength, TooLong, TooSlow
from broker.drive.server.limits import Busy

HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

_STATUS: dict[type[DriveError], int] = {TooLong: 413, NoLength: 411, TooSlow: 408, Busy: 429}

_OUR_FAULT = {503: "the server cannot reach what it keeps its data in", 507: "the server's store is full"}


def answer(message: object, media: str = MSGPACK, status: int = 200) -> Response:
    return Response(encode(message, media), status, HEADERS, media)


class Blob(Response):
    """A blob's bytes, with the room that they take until they are sent."""

    def __init__(self, data: bytes, room: AsyncExitStack) -> None:
        super().__init__(data, 200, HEADERS, BYTES)
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._room:
            await super().__call__(scope, receive, send)


def refusal(error: DriveError, media: str = JSON) -> Response:
    """The error as its code, with the status that fits and, if later is better, when. What is wrong with the stores
    behind the server is nobody's business but the operator's."""
    status = _STATUS.get(type(error), 0) or status_of(error)
    failure = (
        Failure(error.code, _OUR_FAULT.get(status, "the server has failed")) if status >= 500 else failure_of(error)
    )
    response = answer(failure, media, status)
    if isinstance(error, Busy):
        response.headers["retry-after"] = str(max(1, math.ceil(error.seconds)))
    if status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


def breakdown(request_id: str, media: str = JSON) -> Response:
    """For an error that nobody expected: what it was stands in the log only."""
    return answer(
        Failure("error", f"the server has failed; its log says more about request {request_id}"), media, 500
    )
