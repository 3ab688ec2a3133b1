"""Queries for many keys at once, prepared for a few lengths: building a statement costs more than running it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, and_, bindparam, or_

_LENGTHS = (1, 2, 4, 16, 64)
"""More terms of an OR are slow to plan; SQLite has a limit on parameters besides."""

Key = tuple[Any, ...]


class Batched:
    """The rows of a query for any number of keys. `select` makes it from "the columns are one of the keys"."""

    def __init__(self, select: Callable[[ColumnElement[bool]], Select[Any]], *columns: Column[Any]) -> None:
        self._statements = {length: select(_one_of(columns, length)) for length in _LENGTHS}

    def rows(self, connection: Connection, keys: Iterable[Key], **parameters: object) -> Iterator[Any]:
        """In no order. `parameters` are those of the query itself."""
        for batch in _batches(list(dict.fromkeys(keys))):
            values = {f"k{i}_{j}": value for i, key in enumerate(batch) for j, value in enumerate(key)}
            yield from connection.execute(self._statements[len(batch)], values | parameters)


def _one_of(columns: Sequence[Column[Any]], length: int) -> ColumnElement[bool]:
    terms = [[bindparam(f"k{i}_{j}", type_=column.type) for j, column in enumerate(columns)] for i in range(length)]
    if len(columns) == 1:
        return columns[0].in_([parameter for (parameter,) in terms])
    return or_(*(and_(*(c == p for c, p in zip(columns, term, strict=True))) for term in terms))


def _batches(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Padded with the last key to one of the lengths."""
    longest = _LENGTHS[-1]
    for start in range(0, len(keys), longest):
        batch = keys[start : start + longest]
        length = next(length for length in _LENGTHS if length >= len(batch))
        yield [*batch, *[batch[-1]] * (length - len(batch))]
