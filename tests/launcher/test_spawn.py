"""The three processes: exit statuses, signals, descriptors, orphans and deaths. The session continues every call."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from launcher.procfs import children, descendants, state_and_parent

CONTINUING = str(Path(__file__).with_name("continuing.py"))
ROOT = os.geteuid() == 0


def command(mode: str, *argv: str) -> list[str]:
    return [sys.executable, CONTINUING, mode, *argv]


def run(mode: str, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(mode, *argv), capture_output=True, text=True, timeout=30, **options)


@contextmanager
def started(mode: str, script: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A session whose program has said "up" on its stdout."""
    process = subprocess.Popen(
        command(mode, "bash", "-c", script), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    try:
        assert process.stdout.readline() == "up\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(pid: int) -> bool:
    return state_and_parent(pid)[0] in ("", "Z")


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["true"], 0),
        (["false"], 1),
        (["sh", "-c", "exit 42"], 42),
        (["sh", "-c", "kill -KILL $$"], 137),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["sh", "-c", "exit 255"], 255),
        (["sh", "-c", "exit 125"], 125),
    ],
)
def test_the_exit_status_is_the_programs(argv: list[str], status: int) -> None:
    """A number stays, a signal becomes 128 + N as in a shell, and nothing is said."""
    result = run("plain", *argv)
    assert (result.returncode, result.stderr) == (status, "")


def test_output_and_arguments_pass_unchanged() -> None:
    """Also bytes that are no UTF-8."""
    result = subprocess.run([*map(os.fsencode, command("plain", "printf", "%s")), b"a\xff b"], capture_output=True)
    assert result.stdout == b"a\xff b"


def test_how_programs_are_found(tmp_path: Path) -> None:
    """As execvp(3) does: 127 not found, 126 not executable, later folders of PATH are tried, sh runs plain text."""
    for name, content, mode in (
        ("a/tool", "#!/bin/sh\necho a", 0o644),
        ("b/tool", "#!/bin/sh\necho b $0", 0o755),
        ("b/plain", 'echo plain "$@"', 0o755),
        ("b/lost", "#!/no/such/interpreter\n", 0o755),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(mode)
    environment = os.environ | {"PATH": f"{tmp_path}/missing:{tmp_path}/a:{tmp_path}/b::/bin"}

    def said(*argv: str, cwd: Path = tmp_path) -> tuple[int, str]:
        result = run("plain", *argv, env=environment, cwd=cwd)
        return result.returncode, result.stdout + result.stderr

    assert said("tool") == (0, f"b {tmp_path}/b/tool\n")
    assert said("plain", "x y") == (0, "plain x y\n")
    assert said("lost") == (127, "seccomp-drive: cannot run lost: No such file or directory\n")
    assert said("nonesuch") == (127, "seccomp-drive: cannot run nonesuch: No such file or directory\n")
    assert said("./nonesuch") == (127, "seccomp-drive: cannot run ./nonesuch: No such file or directory\n")
    assert said("a/tool") == (126, "seccomp-drive: cannot run a/tool: Permission denied\n")
    assert said("/bin") == (126, "seccomp-drive: cannot run /bin: Permission denied\n")
    assert said("") == (127, "seccomp-drive: cannot run : No such file or directory\n")
    assert said("lost", cwd=tmp_path / "a")[0] == 127
    environment["PATH"] = f"{tmp_path}/a"
    assert said("tool") == (126, "seccomp-drive: cannot run tool: Permission denied\n")


def test_a_session_that_cannot_start() -> None:
    """The program is not run, the reason is told, the status is 125."""
    result = run("refuse", "echo", "ran")
    assert result.returncode == 125
    assert (result.stdout, result.stderr) == (
        "",
        "seccomp-drive: /drive (file:///none): not there; check the remote\n",
    )


def test_a_session_that_breaks() -> None:
    """The program would only get ENOSYS from now on: it is killed, and the user told."""
    result = run("crash", "sleep", "100")
    assert result.returncode == 125
    assert "RuntimeError: the session is broken" in result.stderr
    assert 'run "seccomp-drive sync" with the same -p and -m to push what it has written' in result.stderr


@pytest.mark.parametrize(("argv", "status"), [(["true"], 74), (["false"], 1)])
def test_what_could_not_be_pushed_is_told(argv: list[str], status: int) -> None:
    """Ten paths, the number of the others and what to do; 74 unless the program failed by itself."""
    result = run("pending", *argv)
    assert result.returncode == status
    first = ", ".join(f"/drive/{number}" for number in range(10))
    assert result.stderr.startswith(f"seccomp-drive: not pushed: {first}, and 2 more.")
    assert 'run "seccomp-drive sync"' in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT, signal.SIGRTMIN])
def test_signals_sent_to_the_front_reach_the_program(number: int) -> None:
    """kill(1) and service managers know the front's pid only."""
    with started("plain", f"trap 'echo got; exit 7' {int(number)}; echo up; while :; do sleep 0.01; done") as process:
        process.send_signal(number)
        assert process.stdout.readline() == "got\n"
        assert process.wait(30) == 7


def test_a_program_without_handler_dies_of_the_signal() -> None:
    """And the front's exit status says which."""
    with started("plain", "echo up; exec sleep 100") as process:
        process.terminate()
        assert process.wait(30) == 143


def test_killing_the_front_kills_the_program() -> None:
    """SIGKILL cannot be passed on, as by timeout -k: init sees that the front is gone."""
    with started("plain", "echo up; echo $$; exec sleep 100") as process:
        program = int(process.stdout.readline())
        process.kill()
        eventually(lambda: gone(program))


def test_an_alarm_set_before_reaches_the_program() -> None:
    """alarm(2) is kept over execve(2), and the front is the process that it was set for."""
    script = "import os, signal, sys; signal.alarm(1); os.execv(sys.argv[1], sys.argv[1:])"
    result = subprocess.run([sys.executable, "-c", script, *command("plain", "sleep", "100")], timeout=30)
    assert result.returncode == 128 + signal.SIGALRM


def test_kill_0_by_the_program_reaches_it_once() -> None:
    """The front is in the group that kill(0, …) means, and does not send the signal a second time."""
    script = "trap 'echo got' USR1; echo up; kill -USR1 0; sleep 0.3; echo end"
    with started("plain", script, start_new_session=True) as process:
        assert process.stdout.read() == "got\nend\n"


def test_dispositions_and_mask_are_as_they_were() -> None:
    """What CPython ignores is default again, what the user ignored stays so, nothing is blocked."""
    grep = shlex.join(command("plain", "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"))
    script = f"trap '' USR2 INT CHLD; exec {grep}"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30)
    masks = {name: int(value, 16) for name, value in (line.split(":\t") for line in result.stdout.splitlines())}
    ignored = (signal.SIGUSR2, signal.SIGINT, signal.SIGCHLD)
    assert masks == {"SigBlk": 0, "SigIgn": sum(1 << number - 1 for number in ignored)}


def test_the_exit_status_is_kept_for_who_ignores_sigchld() -> None:
    """The kernel lets nobody wait for the children of a process that ignores it, as we may have been told to."""
    script = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    argv = [sys.executable, "-c", script, *command("plain", "sh", "-c", "exit 7")]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stderr) == (7, "")


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_stay_closed(closing: str, tmp_path: Path) -> None:
    """The program finds them closed, and no descriptor of ours in their place."""
    listing = 'for n in 0 1 2; do [ -e /proc/$$/fd/$n ] && echo $n; done > "$1"; exit 0'
    for name, prefix in (("native", []), ("session", command("plain"))):
        argv = shlex.join([*prefix, "sh", "-c", listing, "sh", f"{tmp_path}/{name}"])
        assert subprocess.run(["bash", "-c", f"{argv} {closing}"], timeout=30).returncode == 0
    assert (tmp_path / "session").read_text() == (tmp_path / "native").read_text()


def test_the_program_has_the_users_descriptors_and_none_of_ours() -> None:
    """Inherited ones are there under their numbers."""
    script = "exec 7</dev/null; exec %s ls /proc/self/fd"
    native, session = (
        subprocess.run(["bash", "-c", script % prefix], capture_output=True, text=True, timeout=30).stdout
        for prefix in ("", " ".join(command("plain")))
    )
    assert session == native


def test_nobody_else_holds_the_programs_descriptors() -> None:
    """A pipe ends for its reader when the program closes it, though the program and a daemon still run."""
    read, write = os.pipe()
    script = f"exec {write}>&-; echo up; exec sleep 100 {write}>&-"
    with started("plain", script, pass_fds=(write,)):
        os.close(write)
        assert os.read(read, 1) == b""
    os.close(read)


def test_a_daemon_outlives_the_program() -> None:
    """The front returns when the program ends; what stays behind is served on, and init reaps it."""
    script = "echo up; (read line; [ -e /etc/passwd ] && echo served >&3) >/dev/null 2>&1 & exit 3"
    gate, opener = os.pipe()
    read, write = os.pipe()
    with started(
        "plain",
        script.replace("read line", f"read line <&{gate}").replace(">&3", f">&{write}"),
        pass_fds=(gate, write),
        stdin=subprocess.DEVNULL,
    ) as process:
        os.close(write)
        assert process.wait(30) == 3
        os.write(opener, b"go\n")
        assert os.read(read, 100) == b"served\n"
        assert os.read(read, 100) == b""
    for number in (gate, opener, read):
        os.close(number)


def test_orphans_are_reaped() -> None:
    """Children whose parents have ended leave no zombies while the program runs."""
    with started("plain", "(true & exec true); echo up; echo $PPID; exec sleep 100") as process:
        init = int(process.stdout.readline())
        eventually(lambda: len(children(init)) == 1)


def test_a_killed_broker_takes_the_program_along() -> None:
    """Program, background children and init end; the front says so, with 125."""
    with started("plain", "sleep 100 & (setsid sleep 100 &) ; echo up; echo $$; wait") as process:
        program = int(process.stdout.readline())
        (broker,) = children(process.pid)
        (init,) = children(broker)
        tree = [program, *children(program), *children(init)]
        assert len(set(tree)) == 3
        os.kill(broker, signal.SIGKILL)
        assert process.wait(30) == 125
        eventually(lambda: all(gone(pid) for pid in [init, *tree]))
        assert "the broker died, and the program with it" in process.stderr.read()


STATS = """
import os
print("up", flush=True)
while True:
    try:
        os.stat("/etc/passwd")
    except OSError as error:
        os.write(2, b"errno %d\\n" % error.errno)
"""


def test_a_killed_broker_is_not_seen() -> None:
    """No call fails between its death and the program's: init holds the listener too, and so they wait."""
    for _ in range(5):
        with started("plain", f"exec python3 -c '{STATS}'") as process:
            (broker,) = children(process.pid)
            os.kill(broker, signal.SIGKILL)
            assert process.wait(30) == 125
            assert "errno" not in process.stderr.read()


def test_a_program_that_is_to_run_on_without_a_broker() -> None:
    """Its calls on paths fail, what needs none works, its exit status counts unless something may be unpushed."""
    script = "echo up; echo $$; read go; [ -e /etc/passwd ] || exit $go"
    for go, status in ((0, 74), (5, 5)):
        with started("keep", script, stdin=subprocess.PIPE) as process:
            (broker,) = children(process.pid)
            os.kill(broker, signal.SIGKILL)
            assert "The program runs on" in process.stderr.readline()
            process.stdin.write(f"{go}\n")
            process.stdin.flush()
            assert process.wait(30) == status


def init_of(process: subprocess.Popen[str]) -> int:
    (broker,) = children(process.pid)
    (init,) = children(broker)
    return init


def test_a_killed_init_is_replaced() -> None:
    """The front goes on to watch the program: its status, its signals, its stops and its orphans are not lost."""
    script = "trap 'echo term' TERM; (true & exec true); echo up; kill -STOP $$; read go; exit 7"
    with started("plain", script, stdin=subprocess.PIPE, process_group=0) as process:
        os.kill(init_of(process), signal.SIGKILL)
        eventually(lambda: state_and_parent(process.pid)[0] == "T")
        os.killpg(process.pid, signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "term\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.wait(30) == 7
        assert process.stderr.read() == ""


def test_init_and_broker_are_killed() -> None:
    """In either order nothing of the program stays behind, and the front says what happened."""
    for first in range(2):
        with started("plain", "sleep 100 & (setsid sleep 100 &) ; echo up; wait") as process:
            (broker,) = children(process.pid)
            init = init_of(process)
            tree = descendants(init)
            assert len(tree) == 3
            for pid in [(init, broker), (broker, init)][first]:
                os.kill(pid, signal.SIGKILL)
            assert process.wait(30) == 125
            eventually(lambda tree=tree: all(gone(pid) for pid in tree))
            assert "seccomp-drive: the broker died" in process.stderr.read()


def test_init_and_broker_are_killed_unseen() -> None:
    """No call fails between their death and the program's: the front holds the listener too."""
    for number in range(6):
        with started("plain", f"exec python3 -c '{STATS}'") as process:
            (broker,) = children(process.pid)
            for pid in [(init_of(process), broker), (broker, init_of(process))][number % 2]:
                os.kill(pid, signal.SIGKILL)
            assert process.wait(30) == 125
            assert "errno" not in process.stderr.read()


@pytest.mark.parametrize("first", ["init", "broker"])
def test_init_is_killed_and_the_program_is_to_run_on(first: str) -> None:
    """Without a broker its calls fail: nobody holds the listener for one that will not come back."""
    script = "echo up; echo $$; read go; [ -e /etc/passwd ] || exit 5"
    with started("keep", script, stdin=subprocess.PIPE) as process:
        (broker,) = children(process.pid)
        init = init_of(process)
        for pid in (init, broker) if first == "init" else (broker, init):
            os.kill(pid, signal.SIGKILL)
        assert "The program runs on" in process.stderr.readline()
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.wait(30) == 5


def test_leaving_while_files_are_pushed() -> None:
    """The first interrupt says what is going on, the second leaves with 74."""
    with started("slow", "echo up") as process:
        (broker,) = children(process.pid)
        eventually(lambda: all(gone(init) for init in children(broker)))
        process.send_signal(signal.SIGINT)
        assert "Interrupt again to leave now" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert 'run "seccomp-drive sync"' in process.stderr.readline()
        assert process.wait(30) == 74


def test_a_session_that_hangs_at_its_start_can_be_left() -> None:
    """A remote that does not answer does not hold the user: the program's process takes the signal."""
    process = subprocess.Popen(command("hang", "true"), stderr=subprocess.PIPE)
    try:
        eventually(lambda: bool(children(process.pid)))
        (broker,) = children(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        eventually(lambda: gone(broker))
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(not ROOT, reason="a new pid namespace needs root")
class TestAsPid1:
    """The front as the first process of a container."""

    UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")

    def test_it_stays_until_the_background_has_ended(self, tmp_path: Path) -> None:
        """The end of PID 1 is the end of all: a daemon's work is done first."""
        script = f"(sleep 0.5; echo done > {tmp_path}/file) >/dev/null 2>&1 & exit 5"
        argv = [*self.UNSHARE, *command("plain", "sh", "-c", script)]
        assert subprocess.run(argv, timeout=30).returncode == 5
        assert (tmp_path / "file").read_text() == "done\n"

    def test_signals_reach_the_program(self) -> None:
        """PID 1 has no default actions; the program that it stands for has."""
        argv = [*self.UNSHARE, *command("plain", "bash", "-c", "echo up; exec sleep 100")]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "up\n"
            (front,) = children(process.pid)
            os.kill(front, signal.SIGTERM)
            assert process.wait(30) == 143

    def test_it_reaps_strangers(self) -> None:
        """Processes that were put into the container from outside become children of PID 1."""
        argv = [*self.UNSHARE, *command("plain", "bash", "-c", "echo up; exec sleep 100")]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "up\n"
            (front,) = children(process.pid)
            (broker,) = children(front)
            stranger = ["nsenter", "-t", str(front), "-p", "-m", "sh", "-c", "(exec sh -c 'exec true') & exit 0"]
            assert subprocess.run(stranger, timeout=30).returncode == 0
            eventually(lambda: children(front) == [broker])
            os.kill(front, signal.SIGTERM)
            assert process.wait(30) == 143
