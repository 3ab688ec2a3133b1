"""Tables on standard output: fitted to a terminal, uncut anywhere else."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

_UNCUT = 10_000
"""Columns where nobody wraps the lines."""
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


class Report:
    def __init__(self) -> None:
        self._console = Console(width=None if os.isatty(1) else _UNCUT)
        self._first = True

    def table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print `rows`, if there are any, with an empty line between two tables."""
        if not rows:
            return
        table = Table(box=box.SIMPLE_HEAD if os.isatty(1) else None, pad_edge=False, padding=(0, 2, 0, 0))
        for title in titles:
            table.add_column(title, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        if not self._first:
            self._console.print()
        self._first = False
        self._console.print(table)

    @staticmethod
    def size(count: int) -> str:
        return decimal(count)

    @staticmethod
    def age(seconds: float) -> str:
        """In the largest unit that it fills."""
        for unit, length in _UNITS:
            if seconds >= length:
                count = int(seconds // length)
                return f"{count} {unit}{'s' if count > 1 else ''} ago"
        return "now"
