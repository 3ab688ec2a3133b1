"""Everything that somebody could change about a sealed thing."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

from msgspec.structs import fields, replace


def flipped(data: bytes) -> Iterator[bytes]:
    """With every bit turned, one at a time."""
    for at in range(len(data) * 8):
        yield data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :]


def shortened(data: bytes) -> Iterator[bytes]:
    """Cut off at every length."""
    for length in range(len(data)):
        yield data[:length]


def altered(record: Any, *but: str) -> Iterator[Any]:
    """The record with one thing changed in one field: a bit, the length, a number."""
    for name in (field.name for field in fields(record)):
        value = getattr(record, name)
        others: list[Any]
        if name in but:
            continue
        if isinstance(value, bytes):
            others = [*flipped(value), *shortened(value), value + b"\0"]
        elif isinstance(value, Enum):
            others = [other for other in type(value) if other is not value]
        elif isinstance(value, bool):
            others = [not value]
        else:
            others = [value - 1, value + 1, value + 2**32]
        for other in others:
            yield replace(record, **{name: other})
