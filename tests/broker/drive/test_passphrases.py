"""Passphrases come from a file named in the environment, or from the terminal, which does not show them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.drive.keyring import KeyringError
from broker.drive.passphrases import FILE, NEW_FILE, Passphrases
from tests.programs.terminal import Terminal

ROOT = Path(__file__).parents[3]


def _program(call: str) -> list[str]:
    return [sys.executable, "-c", f"from broker.drive.passphrases import Passphrases; print('got', {call})"]


def test_from_a_file(tmp_path: Path) -> None:
    """Its first line, without the end of the line; the file for a change is another."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("correct horse \r\nsecond line\n")
    new.write_text("battery staple")
    passphrases = Passphrases({FILE: str(old), NEW_FILE: str(new)})
    assert passphrases.existing("key") == "correct horse "
    assert passphrases.for_new() == "correct horse "
    assert passphrases.replacement() == "battery staple"
    assert Passphrases({FILE: str(old)}, file=str(new)).existing("key") == "battery staple"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\n"])
def test_a_file_without_a_passphrase(tmp_path: Path, content: bytes | None) -> None:
    """A missing, empty or binary file is an error that names it: nothing is made under an empty passphrase."""
    path = tmp_path / "passphrase"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeyringError, match=str(path)):
        Passphrases({FILE: str(path)}).for_new()


def test_the_terminal_does_not_show_it() -> None:
    """What is typed arrives, and is nowhere on the screen before the program prints it."""
    with Terminal(_program("Passphrases({}).existing('/k') == 'open sesame'"), os.environ, ROOT) as terminal:
        terminal.expect(b"seccomp-drive: Passphrase of /k: ")
        terminal.send(b"open sesame\n")
        terminal.expect(b"got True")
        assert terminal.wait() == 0
        assert b"sesame" not in terminal.transcript


@pytest.mark.parametrize(
    ("first", "again", "shown"), [(b"a", b"a", b"got a"), (b"a", b"b", b"differ"), (b"", None, b"got None")]
)
def test_a_new_one_is_typed_twice(first: bytes, again: bytes | None, shown: bytes) -> None:
    """Two that differ are refused; an empty one is none, and is not asked for again."""
    with Terminal(_program("Passphrases({}).for_new()"), os.environ, ROOT) as terminal:
        terminal.expect(b"empty for none): ")
        terminal.send(first + b"\n")
        if again is not None:
            terminal.expect(b"Once more: ")
            terminal.send(again + b"\n")
        terminal.expect(shown)
        terminal.wait()


def test_a_session_without_a_terminal_of_its_own() -> None:
    """The broker is in another session than the shell: it asks on the terminal that it was given."""
    alone = ["setsid", "--wait", *_program("Passphrases({}).existing('/k') == 'open sesame'")]
    with Terminal(alone, os.environ, ROOT) as terminal:
        terminal.expect(b"Passphrase of /k: ")
        terminal.send(b"open sesame\n")
        terminal.expect(b"got True")
        assert terminal.wait() == 0
        assert b"sesame" not in terminal.transcript


def test_nobody_to_ask() -> None:
    """Without a terminal nothing is read from standard input; the message names the variable."""
    outcome = subprocess.run(
        _program("Passphrases({}).existing('/k')"),
        cwd=ROOT,
        input=b"piped\n",
        capture_output=True,
        start_new_session=True,
        timeout=60,
    )
    assert outcome.returncode == 1
    assert FILE.encode() in outcome.stderr and b"no terminal" in outcome.stderr
