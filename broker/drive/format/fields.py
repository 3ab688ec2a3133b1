"""Byte strings in a row, each with its length before it: no two rows look the same."""

from __future__ import annotations

import struct

from broker.drive.errors import Damaged

_LENGTH = struct.Struct(">I")


def join(*fields: bytes) -> bytes:
    """Each field with its length (4 bytes, big-endian) before it."""
    return b"".join(_LENGTH.pack(len(field)) + field for field in fields)


def split(data: bytes, count: int | None = None) -> list[bytes]:
    """What `join` was given; Damaged if it ends early, or is not of `count` fields."""
    found = []
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise Damaged("cut off")
        start = at + 4
        at = start + _LENGTH.unpack_from(data, at)[0]
        if at > len(data):
            raise Damaged("cut off")
        found.append(data[start:at])
    if count is not None and len(found) != count:
        raise Damaged(f"{len(found)} fields instead of {count}")
    return found
