"""The static program that runs scripts for the broker."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tracee import running

from broker.kernel import native


@pytest.mark.parametrize("argument", [b"", b"-e"])
def test_the_exec_helper_runs_what_the_broker_says(argument: bytes, tmp_path: Path) -> None:
    """INTERPRETER [ARGUMENT] SCRIPT ARGV[1]..., with the environment it got."""
    helper = Path(native.__file__).with_name("exec-helper")
    script = tmp_path / "script"
    script.write_text('printf "%s|" "$0" "$@" "$-" "$CODE"\n')

    def execute() -> bytes:
        done = subprocess.run([helper, "one", "two words"], stdout=subprocess.PIPE, env={"CODE": "7"})
        return done.stdout

    with running(execute, directories=[b"/.seccomp-drive-exec"]) as session:
        trapped = session.next()
        answer = b"\0".join((b"/bin/sh", argument, bytes(script), b""))
        assert trapped.arguments[2] == 8192
        native.write_memory(trapped.tid, trapped.arguments[1], answer)
        session.answer(trapped, len(answer))
        output = session.result()
    zero, one, two, flags, code, _ = output.split(b"|")
    assert (zero, one, two, code) == (bytes(script), b"one", b"two words", b"7")
    assert (b"e" in flags) == bool(argument)


@pytest.mark.parametrize(("interpreter", "status"), [(b"/nowhere/sh", 127), (b"/etc/passwd", 126)])
def test_the_exec_helper_says_why_it_cannot(interpreter: bytes, status: int) -> None:
    """127 and a message when the interpreter is missing, 126 when it cannot be executed."""
    helper = Path(native.__file__).with_name("exec-helper")

    def execute() -> tuple[int, bytes]:
        done = subprocess.run([helper], stderr=subprocess.PIPE)
        return done.returncode, done.stderr

    with running(execute, directories=[b"/.seccomp-drive-exec"]) as session:
        trapped = session.next()
        answer = b"\0".join((interpreter, b"", b"/drive/script", b""))
        native.write_memory(trapped.tid, trapped.arguments[1], answer)
        session.answer(trapped, len(answer))
        code, message = session.result()
    assert code == status
    assert message.startswith(b"seccomp-drive: /drive/script: " + interpreter)


def test_the_exec_helper_without_a_broker() -> None:
    """Started by hand it says so and fails."""
    helper = Path(native.__file__).with_name("exec-helper")
    done = subprocess.run([helper], stderr=subprocess.PIPE)
    assert done.returncode == 126
    assert done.stderr.startswith(b"seccomp-drive: ")
