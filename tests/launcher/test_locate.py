"""Lines of the keys of a TOML text."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.locate import key_lines

NAMES = st.text("abcXYZ019_-", min_size=1, max_size=5)
VALUES = st.sampled_from(
    [
        "1",
        '"a#b"',
        "'[x]'",
        '"quote \\" = ["',
        '"""one\ntwo = 2\n[three]"""',
        "'''\nfour = 4\n\"'''",
        '"""ends with quotes"""""',
        "[1,\n  2, # two = 2\n]",
        "{ inner = 1, other.deep = [1] }",
        "1979-05-27T07:32:00Z",
        "-1.5e3",
        "[]",
    ]
)
GAPS = st.sampled_from(["", "\n", "# comment = 1\n", "\n   # [table]\n\n", "\t\n"])


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[tuple[str | int, ...], int]]:
    """A TOML text and the line of each of its keys, counted while it is written."""
    text, lines, elements = draw(GAPS), dict[tuple[str | int, ...], int](), 0

    def keys(table: tuple[str | int, ...]) -> None:
        nonlocal text
        for name in draw(st.lists(NAMES, unique=True, max_size=4)):
            text += draw(GAPS)
            lines[(*table, name)] = text.count("\n") + 1
            written = draw(st.sampled_from([name, f'"{name}"', f"'{name}'"]))
            indent, comment = draw(st.sampled_from([("", ""), ("  ", " # x")]))
            text += f"{indent}{written} = {draw(VALUES)}{comment}\n"

    keys(())
    for name in draw(st.lists(NAMES, unique=True, max_size=3)):
        text += draw(GAPS)
        lines["tables!", name] = text.count("\n") + 1
        text += f'["tables!".{name}]\n'
        keys(("tables!", name))
        for _ in range(draw(st.integers(0, 2))):
            text += draw(GAPS)
            lines["array!", elements] = text.count("\n") + 1
            text += '[["array!"]] # an element\n'
            keys(("array!", elements))
            elements += 1
    return text, lines


@given(documents())
def test_every_key_has_its_line(document: tuple[str, dict[tuple[str | int, ...], int]]) -> None:
    """Comments, blank lines, strings over several lines and brackets in strings do not shift a line."""
    text, lines = document
    tomllib.loads(text)
    assert key_lines(text) == lines


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a.b . c = 1", ("a", "b", "c"), 1),
        ('a."x.y".c = 1', ("a", "x.y", "c"), 1),
        ("[[m]]\n[m.sub]\nk = 1\n[[m]]\n[m.sub]\nk = 2", ("m", 1, "sub", "k"), 6),
        ('[a]\r\n\r\n"\\u0062" = 1\r\n', ("a", "b"), 3),
        ("[[a]]\n[[a.b]]\n[[a.b]]\nx = 1\n[[a]]\n[[a.b]]\nx = 2", ("a", 0, "b", 1, "x"), 4),
        ("[[a]]\n[[a.b]]\n[[a.b]]\nx = 1\n[[a]]\n[[a.b]]\nx = 2", ("a", 1, "b", 0, "x"), 7),
    ],
)
def test_unusual_ways_to_write_a_key(text: str, key: tuple[str | int, ...], line: int) -> None:
    """Dotted, quoted and escaped keys, tables beneath array elements, and CRLF."""
    tomllib.loads(text)
    assert key_lines(text)[key] == line
