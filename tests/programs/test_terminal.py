"""At a terminal: interrupting, stopping and continuing, an interactive shell, and editors."""

from __future__ import annotations

import re

import pytest

from .harness import Pair, Place, fill_standard
from .terminal import Terminal

PROMPT = b"prompt> "
SHELL = ["env", "PS1=prompt> ", "bash", "--norc", "--noprofile", "-i"]
INTERRUPT, STOP, QUIT, END = b"\x03", b"\x1a", b"\x1c", b"\x04"
ECHO = 'while read -r line; do echo "<$line>"; done'
SLEEPER = """drive-exec sh -c 'cd "$DRIVE"; echo star""ted; exec sleep 60'"""


def command(terminal: Terminal, line: str, *shown: bytes) -> None:
    """Type a line and wait for what it shows. What is typed is shown too, so a line must not contain it as it is."""
    terminal.expect(PROMPT)
    terminal.send(line.encode() + b"\n")
    for text in shown:
        terminal.expect(text)


def status(terminal: Terminal) -> None:
    command(terminal, "echo sta''tus=$?", b"status=")


def echo(terminal: Terminal) -> None:
    """Show that the program in the foreground is `ECHO` and has the terminal."""
    terminal.send(b"a line\n")
    terminal.expect(b"<a line>")


def leave(terminal: Terminal) -> str:
    """End the shell; the exit statuses that were shown."""
    command(terminal, "exit 4")
    return b" ".join(re.findall(rb"status=\d+", terminal.transcript)).decode()


@pytest.mark.parametrize("key", [INTERRUPT, QUIT], ids=["Ctrl-C", "Ctrl-backslash"])
def test_interrupt(pair: Pair, key: bytes) -> None:
    """Ctrl-C and Ctrl-\\ end the program, and the shell goes on."""

    def talk(terminal: Terminal) -> str:
        command(terminal, SLEEPER, b"started")
        terminal.send(key)
        status(terminal)
        return leave(terminal)

    pair.dialogue(SHELL, talk, status=4, outside=True)


def test_interrupt_that_is_handled(pair: Pair) -> None:
    """A program that handles Ctrl-C itself goes on, with its drive."""
    program = 'cd "$DRIVE"; trap "echo caught > caught" INT; echo star""ted; until test -e caught; do sleep 0.05; done; cat caught hello.txt'  # noqa: E501

    def talk(terminal: Terminal) -> str:
        command(terminal, f"drive-exec bash -c '{program}'", b"started")
        terminal.send(INTERRUPT)
        terminal.expect(b"caught")
        terminal.expect(b"hello")
        status(terminal)
        return leave(terminal)

    pair.dialogue(SHELL, talk, status=4, outside=True)


def test_stop_and_continue(pair: Pair) -> None:
    """Ctrl-Z stops the program but not what it left in the background; fg continues it; Ctrl-C ends it."""
    program = 'cd "$DRIVE"; setsid sh "$LOCAL/daemon" & ' + ECHO
    daemon = """echo started; while test ! -e "$LOCAL/go"; do sleep 0.05; done
        cat "$DRIVE/hello.txt" > "$DRIVE/served"; : > "$LOCAL/done" """

    def setup(place: Place) -> None:
        fill_standard(place)
        (place.work / "daemon").write_text(daemon)

    def talk(terminal: Terminal) -> str:
        command(terminal, f"drive-exec bash -c '{program}'", b"started")
        terminal.send(STOP)
        terminal.expect(b"Stopped")
        status(terminal)
        command(terminal, ": > go; until test -e done; do sleep 0.05; done; echo ser''ved", b"served")
        command(terminal, "fg", b"drive-exec")
        echo(terminal)
        terminal.send(STOP)
        terminal.expect(b"Stopped")
        command(terminal, "fg", b"drive-exec")
        echo(terminal)
        terminal.send(INTERRUPT)
        status(terminal)
        return leave(terminal)

    pair.dialogue(SHELL, talk, setup=setup, status=4, outside=True)


def test_background_job(pair: Pair) -> None:
    """A job in the background that reads from the terminal is stopped until fg; Ctrl-D ends its input."""

    def talk(terminal: Terminal) -> str:
        command(terminal, """drive-exec sh -c 'cat > "$DRIVE/typed"; cat "$DRIVE/typed"' &""")
        command(terminal, "until jobs | grep -q Stop''ped; do sleep 0.05; done; echo no''w", b"now")
        command(terminal, "fg", b"drive-exec")
        terminal.send(b"some text\n")
        terminal.expect(b"some text")
        terminal.send(END)
        terminal.expect(b"some text")
        status(terminal)
        return leave(terminal)

    pair.dialogue(SHELL, talk, status=4, outside=True)


def test_interactive_shell(pair: Pair) -> None:
    """bash -i under the drive has its own jobs, its terminal, its working directory and its tab completion."""

    def talk(terminal: Terminal) -> str:
        command(terminal, 'cd "$DRIVE"; pwd; echo sta""rted', b"started")
        command(terminal, f"sh -c '{ECHO}'")
        echo(terminal)
        terminal.send(STOP)
        terminal.expect(b"Stopped")
        status(terminal)
        command(terminal, "jobs", b"Stopped")
        command(terminal, "fg", b"done'")
        echo(terminal)
        terminal.send(INTERRUPT)
        status(terminal)
        command(terminal, "test -t 0 && stty size > size; ps -o pgid= $$ | grep -cw $$ > leader")
        command(terminal, "cat hel\t > completed; cat $DRIVE/sub/o\t >> completed")
        status(terminal)
        return leave(terminal)

    pair.dialogue(SHELL, talk, status=4)


VIM = {
    "default": b"",
    "backup by renaming": b":set backup backupcopy=no\r",
    "backup by copying": b":set backup backupcopy=yes\r",
    "without a swap file": b":set noswapfile nowritebackup\r",
}


@pytest.mark.parametrize("way", VIM)
@pytest.mark.parametrize("where", ["absolute", "relative"])
def test_vim(pair: Pair, way: str, where: str) -> None:
    """vim edits and saves twice, in each of its ways to write a file."""
    command = "vim -N -u NONE -i NONE" + (' "$DRIVE/hello.txt"' if where == "absolute" else " hello.txt")

    def talk(terminal: Terminal) -> None:
        terminal.expect(b"hello")
        terminal.send(VIM[way] + b"osecond\x1b:w\r")
        terminal.expect(b"written")
        terminal.send(b"othird\x1b:w\r")
        terminal.expect(b"written")
        terminal.send(b":r sub/one\r:w! copy\r" if where == "relative" else b":w\r")
        terminal.expect(b"written")
        terminal.send(b":wq\r")

    pair.dialogue(["bash", "-e", "-c", (f'cd "$DRIVE"; {command}' if where == "relative" else command)], talk)


@pytest.mark.parametrize("flags", ["-I", "-IB"])
def test_nano(pair: Pair, flags: str) -> None:
    """nano edits and saves twice, with and without its backup."""

    def talk(terminal: Terminal) -> None:
        terminal.expect(b"hello")
        terminal.send(b"first ")
        terminal.send(b"\x0f\r")
        terminal.expect(b"Wrote")
        terminal.send(b"second ")
        terminal.send(b"\x0f\r")
        terminal.expect(b"Wrote")
        terminal.send(b"\x18")

    pair.dialogue(["nano", flags, f"{pair.prefix}/hello.txt"], talk)
