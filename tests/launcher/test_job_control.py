"""A session at a terminal: an interactive shell stops, continues and interrupts it as any other job."""

from __future__ import annotations

import os
import pty
import select
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CONTINUING = Path(__file__).with_name("continuing.py")
PROMPT = "ready> "
CONTINUABLE = "trap 'echo continued' CONT; echo up; while :; do sleep 0.01; done"


class Shell:
    """An interactive bash on a terminal of its own."""

    def __init__(self) -> None:
        self._shown = ""
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.environ.update(PS1=PROMPT, TERM="dumb", SESSION=shlex.join([sys.executable, str(CONTINUING), "plain"]))
            os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])
        self.expect(PROMPT)
        self.type("stty -echo")
        self.expect(PROMPT)

    def type(self, line: str) -> None:
        self.press(line + "\n")

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def expect(self, text: str) -> str:
        """What was shown up to `text`, which is waited for."""
        deadline = time.monotonic() + 30
        while text not in self._shown:
            ready = select.select([self._master], [], [], max(0, deadline - time.monotonic()))[0]
            assert ready, f"{text!r} was not shown, but {self._shown!r}"
            self._shown += os.read(self._master, 65536).decode().replace("\r", "")
        before, _, self._shown = self._shown.partition(text)
        return before

    def run(self, line: str) -> str:
        self.type(line)
        return self.expect(PROMPT)

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.close(self._master)
        os.waitpid(self.pid, 0)


@pytest.fixture
def shell() -> Iterator[Shell]:
    shell = Shell()
    yield shell
    shell.close()


def test_ctrl_z_fg_and_ctrl_c(shell: Shell) -> None:
    """The shell sees its job stopped, continued and interrupted, with the status of the program."""
    shell.type(f"$SESSION bash -c {shlex.quote(CONTINUABLE)}")
    shell.expect("up\n")
    shell.press("\x1a")
    assert "Stopped" in shell.expect(PROMPT)
    assert "Stopped" in shell.run("jobs")
    shell.type("fg")
    shell.expect("continued\n")
    shell.press("\x03")
    shell.expect(PROMPT)
    assert shell.run("echo status $?") == "status 130\n"


def test_a_background_process_runs_on_while_the_job_is_stopped(shell: Shell, tmp_path: Path) -> None:
    """Ctrl-Z stops the job, not the broker: what has left the job's process group is served."""
    log = tmp_path / "log"
    log.touch()
    ticking = f"setsid sh -c 'while [ -e {log} ]; do echo tick >> {log}; sleep 0.01; done' &"
    script = f"{ticking} until [ -s {log} ]; do sleep 0.01; done; {CONTINUABLE}"
    shell.type(f"$SESSION bash -c {shlex.quote(script)}")
    shell.expect("up\n")
    shell.press("\x1a")
    shell.expect(PROMPT)
    size = log.stat().st_size
    deadline = time.monotonic() + 20
    while log.stat().st_size <= size:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    log.unlink()
    shell.type("fg")
    shell.expect("continued\n")
    shell.press("\x03")
    shell.expect(PROMPT)


def test_bg_and_fg(shell: Shell) -> None:
    """In the background the job runs; reading the terminal stops it; in the foreground it reads."""
    shell.run("$SESSION sh -c 'read line; echo got $line' &")
    deadline = time.monotonic() + 20
    while "Stopped" not in shell.run("jobs"):
        assert time.monotonic() < deadline
    shell.type("fg")
    shell.expect("got $line'\n")
    shell.type("words")
    assert shell.expect(PROMPT) == "got words\n"


def test_a_program_that_is_a_shell_suspends_itself(shell: Shell) -> None:
    """A shell in a process group of its own gets the terminal back when the job is continued."""
    shell.type("PS1='inner> ' $SESSION bash --norc --noprofile --noediting -i")
    shell.expect("inner> ")
    shell.type("suspend")
    assert "Stopped" in shell.expect(PROMPT)
    shell.type("fg")
    shell.expect("-i\n")
    shell.type("echo inside")
    shell.expect("inside\n")
    shell.type("exit 9")
    shell.expect(PROMPT)
    assert shell.run("echo status $?") == "status 9\n"


def test_a_program_stopped_and_continued_by_others(shell: Shell) -> None:
    """kill -STOP and -CONT of the program itself show in the shell's job table."""
    shell.type("$SESSION bash -c 'echo up $$; exec sleep 100' &")
    shell.expect("up ")
    program = int(shell.expect("\n"))
    shell.run("")
    os.kill(program, signal.SIGSTOP)
    deadline = time.monotonic() + 20
    while "Stopped" not in shell.run("jobs"):
        assert time.monotonic() < deadline
    os.kill(program, signal.SIGCONT)
    while "Running" not in shell.run("jobs"):
        assert time.monotonic() < deadline
    os.kill(program, signal.SIGTERM)
    shell.type("wait %1; echo status $?")
    shell.expect("status 143\n")


def test_the_end_of_the_terminal_ends_the_program() -> None:
    """As the leader of the session the front alone hears of the hang-up, and passes it on."""
    read, write = os.pipe()
    pid, master = pty.fork()
    if pid == 0:
        os.set_inheritable(write, True)
        script = f"trap 'echo hung up >&{write}; exit' HUP; echo up; while :; do sleep 0.01; done"
        os.execv(sys.executable, [sys.executable, str(CONTINUING), "plain", "bash", "-c", script])
    os.close(write)
    shown = b""
    while b"up" not in shown:
        shown += os.read(master, 100)
    os.close(master)
    assert os.read(read, 100) == b"hung up\n"
    assert os.read(read, 100) == b""
    os.close(read)
    os.waitpid(pid, 0)


def test_the_ctrl_c_that_ends_the_program_does_not_give_up_its_files() -> None:
    """It reaches the front as well, however late. Only the next one is about what is still being pushed."""
    pid, master = pty.fork()
    if pid == 0:
        script = "echo $$ up; exec sleep 100"
        os.execv(sys.executable, [sys.executable, str(CONTINUING), "slow", "bash", "-c", script])
    shown = b""
    while b"up" not in shown:
        shown += os.read(master, 100)
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    os.write(master, b"\x03")
    program, deadline = int(shown.split()[0]), time.monotonic() + 20
    while _runs(program):
        assert time.monotonic() < deadline
    os.kill(pid, signal.SIGCONT)
    while select.select([master], [], [], 0.5)[0]:
        shown += os.read(master, 1000)
    assert b"pushed" not in shown
    os.write(master, b"\x03")
    while b"Interrupt again" not in shown:
        shown += os.read(master, 1000)
    os.write(master, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGINT
    os.close(master)


def _runs(pid: int) -> bool:
    """Not so a zombie, whose command line is empty."""
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes() != b""
    except OSError:
        return False
