"""Statements that are compiled once and then given to the driver as they are.

SQLAlchemy's execution takes twice as long as SQLite itself for the small statements of a commit. It makes the
statements, connections and transactions here, and is passed by in between.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Executable, Select, and_, bindparam, or_
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

Parameters = Mapping[str, Any]
Key = tuple[Any, ...]

_LENGTHS = (1, 2, 4, 16, 64)
"""More terms of an OR are slow to plan; SQLite has a limit on parameters besides."""


_TOGETHER = 32
"""Rows that are taken at once where they are not taken all: each may have a mebibyte."""


class Prepared:
    """One statement, for any parameters of the same names.

    It has no lists of values (`Batched` has them), and its types need no conversion.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, connection: Connection, **parameters: object) -> list[tuple[Any, ...]]:
        """All of them, as tuples."""
        compiled = self._for(connection)
        cursor = _cursor(connection).execute(compiled.text, compiled.arranged(parameters))
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found

    def each(self, connection: Connection, **parameters: object) -> Generator[tuple[Any, ...]]:
        """One after the other: of those that are not taken, only a few are ever in memory. One such query of a
        transaction at a time; close it."""
        compiled = self._for(connection)
        with contextlib.closing(_streaming(connection)) as cursor:
            cursor.execute(compiled.text, compiled.arranged(parameters))
            while found := cursor.fetchmany(_TOGETHER):
                yield from found

    def row(self, connection: Connection, **parameters: object) -> tuple[Any, ...] | None:
        """The first, if there is one."""
        found = self.rows(connection, **parameters)
        return found[0] if found else None

    def run(self, connection: Connection, *many: Parameters) -> int:
        """Once for each of the parameters; how many rows have been changed by all."""
        if not many:
            return 0
        compiled, cursor = self._for(connection), _cursor(connection)
        if len(many) == 1:
            cursor.execute(compiled.text, compiled.arranged(many[0]))
        else:
            cursor.executemany(compiled.text, [compiled.arranged(parameters) for parameters in many])
        return int(cursor.rowcount)

    def _for(self, connection: Connection) -> _Compiled:
        dialect = connection.dialect
        found = self._compiled.get(dialect.name)
        if found is None:
            assert isinstance(self._statement, ClauseElement)
            compiled = self._statement.compile(dialect=dialect)
            assert isinstance(compiled, SQLCompiler)
            found = self._compiled[dialect.name] = _Compiled(compiled)
        return found


class _Compiled:
    """The text for one dialect, and how its driver wants the parameters: a sequence or a mapping."""

    __slots__ = ("_constants", "_order", "text")

    def __init__(self, compiled: SQLCompiler) -> None:
        self.text = compiled.string
        self._order = compiled.positiontup
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}

    def arranged(self, parameters: Parameters) -> Sequence[object] | Parameters:
        if self._constants:
            parameters = {**self._constants, **parameters}
        if self._order is None:
            return parameters
        return [parameters[name] for name in self._order]


class Batched:
    """The rows of a query for any number of keys. `select` makes it from "the columns are one of the keys"."""

    def __init__(self, select: Callable[[ColumnElement[bool]], Select[Any]], *columns: Column[Any]) -> None:
        names = [[f"k{i}_{j}" for j in range(len(columns))] for i in range(_LENGTHS[-1])]
        self._statements = {length: Prepared(select(_one_of(columns, names[:length]))) for length in _LENGTHS}
        self._names = list(chain.from_iterable(names))

    def rows(self, connection: Connection, keys: Iterable[Key], **parameters: object) -> Iterator[tuple[Any, ...]]:
        """In no order. `parameters` are those of the query itself."""
        for batch in _batches(list(dict.fromkeys(keys))):
            # A short batch has the first of the names.
            values = dict(zip(self._names, chain.from_iterable(batch), strict=False))
            yield from self._statements[len(batch)].rows(connection, **values, **parameters)


def _one_of(columns: Sequence[Column[Any]], names: Sequence[Sequence[str]]) -> ColumnElement[bool]:
    terms = [
        [bindparam(name, type_=column.type) for name, column in zip(term, columns, strict=True)] for term in names
    ]
    if len(columns) == 1:
        return columns[0].in_([parameter for (parameter,) in terms])
    return or_(*(and_(*(c == p for c, p in zip(columns, term, strict=True))) for term in terms))


def _batches(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Padded with the last key to one of the lengths."""
    longest = _LENGTHS[-1]
    for start in range(0, len(keys), longest):
        batch = keys[start : start + longest]
        length = _LENGTHS[bisect_left(_LENGTHS, len(batch))]
        yield [*batch, *[batch[-1]] * (length - len(batch))]


def _cursor(connection: Connection) -> Any:
    driver: Any = connection.connection.driver_connection
    # PostgreSQL's text form of bytes is twice as long, and takes twice as long to read.
    return driver.cursor(binary=True) if connection.dialect.name == "postgresql" else driver.cursor()


def _streaming(connection: Connection) -> Any:
    """A cursor that does not fetch all rows at once, as SQLite's never does."""
    if connection.dialect.name != "postgresql":
        return _cursor(connection)
    driver: Any = connection.connection.driver_connection
    driver.execute("SET LOCAL cursor_tuple_fraction = 1")  # or it is planned for the first rows alone
    return driver.cursor("rows", binary=True)
