"""Messages to bytes and back, errors to answers and back: the one place for both sides."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from broker.drive import errors
from broker.drive.errors import DriveError, Malformed, Unreachable
from broker.drive.http.messages import Failure

MSGPACK, JSON, BYTES = "application/msgpack", "application/json", "application/octet-stream"

_Message = TypeVar("_Message")

_STATUS: dict[type[DriveError], int] = {
    errors.Malformed: 400,
    errors.Unauthenticated: 401,
    errors.Denied: 403,
    errors.Missing: 404,
    errors.NameTaken: 409,
    errors.NodeChanged: 409,
    errors.EntryChanged: 409,
    errors.EpochChanged: 409,
    errors.FolderNotEmpty: 409,
    errors.WrongKind: 409,
    errors.Cycle: 409,
    errors.OtherHome: 409,
    errors.QuotaExceeded: 409,
    errors.Tampered: 409,
    errors.Damaged: 500,
    errors.StoreFull: 507,
    errors.Unreachable: 503,
}

_BY_CODE = {kind.code: kind for kind in _STATUS}

LATER = {408, 425, 429, 500, 502, 503, 504}
"""The answers after which the same request may succeed (RFC 9110)."""

_MESSAGE_MAX = 500


def encode(message: object, media: str = MSGPACK) -> bytes:
    return msgspec.json.encode(message) if media == JSON else msgspec.msgpack.encode(message)


def decode(data: bytes | memoryview, kind: type[_Message], media: str = MSGPACK) -> _Message:
    """Malformed, with where it is wrong, unless `data` is a message of that kind."""
    try:
        if media == JSON:
            return msgspec.json.decode(data, type=kind)
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(f"not what was expected: {error}") from error


def status_of(error: DriveError) -> int:
    for kind in type(error).__mro__:
        if kind in _STATUS:
            return _STATUS[kind]
    return 500


def failure_of(error: DriveError) -> Failure:
    return Failure(error.code, str(error))


def error_of(server: str, status: int, data: bytes, media: str) -> DriveError:
    """What the answer of `server` with that status means; what cannot be understood is Unreachable."""
    try:
        failure = decode(data, Failure, media)
    except Malformed:
        foreign = "" if status in LATER else ", as no server of seccomp-drive does: look at the address again"
        return Unreachable(f"{server} answers with status {status}{foreign}")
    kind = _BY_CODE.get(failure.code, Unreachable)
    return kind(harmless(failure.message) or kind.code)


def harmless(text: str) -> str:
    """Text from elsewhere that is going to be shown on a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_MESSAGE_MAX])
