"""The command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import cli
from launcher.usage import UsageError
from launcher.words import Arguments, parse


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["exec", "ls"], Arguments("exec", argv=["ls"])),
        (["exec", "ls", "-m", "x", "--", "-p"], Arguments("exec", argv=["ls", "-m", "x", "--", "-p"])),
        (["exec", "--", "-x"], Arguments("exec", argv=["-x"])),
        (["exec", "-"], Arguments("exec", argv=["-"])),
        (["exec", "-p", "f", "-m", "a=b", "-m", "c=d", "x"], Arguments("exec", "f", ["a=b", "c=d"], ["x"])),
        (["exec", "-pf", "-m/a=b:c=d", "x"], Arguments("exec", "f", ["/a=b:c=d"], ["x"])),
        (["exec", "--policy", "f", "--mount=a=b", "x"], Arguments("exec", "f", ["a=b"], ["x"])),
        (["exec", "--policy=f", "--mount", "--", "x"], Arguments("exec", "f", ["--"], ["x"])),
        (["check", "-p", "f"], Arguments("check", "f")),
        (["sync", "-m", "a=b"], Arguments("sync", mounts=["a=b"])),
        (["status"], Arguments("status")),
        (["exec", "--keep-running", "-pf", "x", "-y"], Arguments("exec", "f", argv=["x", "-y"], keep_running=True)),
        (["exec", "-h"], Arguments("help")),
        (["--help"], Arguments("help")),
        (["--version"], Arguments("version")),
        (["exec", "ls", "--help"], Arguments("exec", argv=["ls", "--help"])),
    ],
)
def test_command_lines(words: list[str], expected: Arguments) -> None:
    """Options end at the program or at "--"; all that follows is the program's."""
    assert parse(words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no command"),
        (["run", "ls"], 'unknown command "run"'),
        (["exec"], "exec needs a program"),
        (["exec", "-p", "f", "--"], "exec needs a program"),
        (["exec", "-x", "ls"], 'unknown option "-x"'),
        (["exec", "--mounts=a=b", "ls"], 'unknown option "--mounts=a=b"'),
        (["exec", "-m"], '"-m" needs a value'),
        (["status", "now"], 'status takes no "now"'),
    ],
)
def test_what_is_not_understood(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    """It is told with the way to the help, and the status is 125."""
    with pytest.raises(UsageError, match=message):
        parse(words)
    assert cli.main(words) == 125
    said = capfd.readouterr().err
    assert said.startswith(f"seccomp-drive: {message}")
    assert said.endswith("; see seccomp-drive --help\n")


@given(st.lists(st.text(max_size=5), min_size=1))
def test_the_programs_words_are_never_touched(argv: list[str]) -> None:
    """Behind "--" any words at all are handed on."""
    assert parse(["exec", "-m", "/a=b:c", "--", *argv]).argv == argv


def test_a_bad_policy_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With its line, on stderr, status 125."""
    path = tmp_path / "p.toml"
    path.write_text("\ncolour = 1\n")
    assert cli.main(["status", "-p", str(path)]) == 125
    assert capfd.readouterr().err.startswith(f'seccomp-drive: {path}:2: unknown key "colour"')


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """And fits a terminal."""
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"seccomp-drive {command}" in text for command in ("exec", "check", "status", "sync"))
    assert max(map(len, text.splitlines())) < 120


def test_messages_survive_a_closed_stderr() -> None:
    """Nobody listening is no reason to fail, and odd characters none to raise."""
    pid = os.fork()
    if pid == 0:
        try:
            os.close(2)
            cli.say("\udcff")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
