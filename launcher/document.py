"""A TOML document whose every value knows the place to blame in a message."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct, field

Key = tuple[str | int, ...]
"""A way into a document: names of tables and keys, and indices of array tables."""


class PolicyError(Exception):
    """The policy cannot be used; the message says where and what to do."""


class Value(Struct, frozen=True):
    """A value and where it came from: a key of the file `origin`, or the option `origin` itself."""

    origin: str
    value: object
    key: Key = ()
    lines: Mapping[Key, int] = field(default_factory=dict)
    """The lines of the file's keys; empty for an option."""

    @property
    def place(self) -> str:
        """``FILE:LINE``, with the line of the key, of the first one in it or of the nearest table around it."""
        if not self.lines:
            return self.origin
        key = self.key
        while not (lines := [line for known, line in self.lines.items() if known[: len(key)] == key]):
            key = key[:-1]
        return f"{self.origin}:{self.lines.get(key, min(lines))}"

    def error(self, message: str) -> PolicyError:
        """``FILE:LINE: message`` to raise."""
        return PolicyError(f"{self.place}: {message}")

    def item(self, name: str | int, value: object) -> Value:
        return Value(self.origin, value, (*self.key, name), self.lines)

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            raise self.error(f'{self.key[-1]} is not a text; write {self.key[-1]} = "…"')
        return self.value

    def table(self, *known: str) -> dict[str, Value]:
        """The values of a table. With `known`, another key is refused."""
        if not isinstance(self.value, dict):
            name = ".".join(str(part) for part in self.key)
            raise self.error(f"{name} is not a table; write [{name}] with its keys beneath")
        items = {name: self.item(name, value) for name, value in self.value.items()}
        for name, item in items.items():
            if known and name not in known:
                raise item.error(f'unknown key "{name}"; known here: {", ".join(known)}')
        return items

    def rows(self) -> list[Value]:
        """The tables of an array."""
        if not isinstance(self.value, list):
            raise self.error(f"{self.key[-1]} is not a list; write each as [[{self.key[-1]}]] with its keys beneath")
        return [self.item(index, value) for index, value in enumerate(self.value)]


def parse(path: str, text: str) -> Value:
    """The document in `text`; PolicyError with the line of what is not TOML."""
    if not text:
        return Value(path, {})
    import tomllib  # 7 ms that a start without a policy file does not pay

    from launcher.locate import endless, key_lines

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, _, place = str(error).partition(" (at ")
        number = re.match(r"line (\d+)", place)
        line = int(number[1]) if number else text.count("\n") + 1
        raise PolicyError(f"{path}:{line}: {what[:1].lower()}{what[1:]}; correct the TOML syntax") from None
    except (ValueError, RecursionError):
        what = "a number or a nesting that has no end to speak of"
        raise PolicyError(f"{path}:{endless(text)}: {what}; no policy needs it, remove it") from None
    return Value(path, document, (), {(): 1} | key_lines(text))
