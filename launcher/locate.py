"""Where the keys of a TOML text stand: the line numbers that tomllib does not give."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping

from launcher.document import Key

_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?""""{0,2}'''
    r"""|'''.*?''''{0,2}"""
    r"""|"(?:\\.|[^"\\\n])*"|'[^'\n]*'"""
    r"""|\#[^\n]*|[^\S\n]+|\n|[][{}=.,]|[^]\s"'#[{}=.,]+""",
    re.DOTALL,
)


def key_lines(text: str) -> dict[Key, int]:
    """The line, from 1, of every table header and every key of a text that tomllib accepts.

    What stands in an inline table is not listed: it has the line of the statement around it.
    """
    lines: dict[Key, int] = {}
    last: dict[Key, int] = {}  # of every array table, the index of its newest element
    table: Key = ()
    for line, tokens in _statements(text):
        if tokens[0] != "[":
            lines[table + _names(tokens[: tokens.index("=")])] = line
            continue
        array = tokens[1] == "["
        *outer, name = _names(tokens)
        table = (*_into(outer, last), name)
        if array:
            last[table] = last.get(table, -1) + 1
            table += (last[table],)
        else:
            table = _into([*outer, name], last)
        lines[table] = line
    return lines


def endless(text: str) -> int:
    """The line of the statement in which tomllib meets a limit of the interpreter: on digits, or on brackets."""
    for line, tokens in _statements(text):
        try:
            tomllib.loads("".join(tokens))
        except tomllib.TOMLDecodeError:
            pass  # it leans on its blanks; tomllib has taken it
        except (ValueError, RecursionError):
            return line
    return 1


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line of the first token, tokens without blanks and comments) of each statement."""
    line, depth, first, tokens = 1, 0, 1, list[str]()
    for match in _TOKEN.finditer(text + "\n"):
        token = match[0]
        if token == "\n" and depth == 0 and tokens:
            yield first, tokens
            tokens = []
        elif not token.isspace() and not token.startswith("#"):
            first = first if tokens else line
            tokens.append(token)
            depth += (token in "[{") - (token in "]}")
        line += token.count("\n")
    if tokens:  # brackets that are not closed
        yield first, tokens


def _names(tokens: list[str]) -> tuple[str, ...]:
    """The names of a dotted key, unquoted."""
    names = [token for token in tokens if token not in "[]."]
    return tuple(tomllib.loads(f"name = {name}")["name"] if name[0] in "\"'" else name for name in names)


def _into(names: list[str], last: Mapping[Key, int]) -> Key:
    """A header's names as a way into the document: beneath an array table they mean its newest element."""
    key: Key = ()
    for name in names:
        key += (name,)
        if key in last:
            key += (last[key],)
    return key
