"""The user is told everything once, and not without end."""

from __future__ import annotations

import os

import pytest

from broker.telling import Once, shown, tell


def test_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    """With our name in front; what is no text is escaped."""
    tell(os.fsdecode(b"/drive/\xff is gone"))
    assert capfd.readouterr().err == "seccomp-drive: /drive/\\udcff is gone\n"


def test_names_do_not_move_the_cursor(capfd: pytest.CaptureFixture[str]) -> None:
    """What a remote calls its files reaches the terminal as text."""
    assert shown(b"/drive/\x1b[2J\n\xff \xc3\xa4") == "/drive/\\x1b[2J\\n\\xff ä"
    tell("a\rb\x9bc")
    assert capfd.readouterr().err == "seccomp-drive: a\\rb\\x9bc\n"


def test_once() -> None:
    """The same message again is left out."""
    said: list[str] = []
    once = Once(said.append)
    for message in ("a", "b", "a"):
        once(message)
    assert said == ["a", "b"]


def test_not_without_end() -> None:
    """A remote that lies in a new way every time does not fill the terminal."""
    said: list[str] = []
    once = Once(said.append)
    for number in range(10_000):
        once(str(number))
    assert len(said) < 1000 and "ends here" in said[-1]
