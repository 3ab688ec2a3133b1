"""Several sessions that change the same files, on one machine and on two: nothing that was confirmed is lost."""

from __future__ import annotations

import re

import pytest

from .conftest import SOURCES
from .machines import Machines, Session

pytestmark = pytest.mark.usefixtures("drive_only")

TOKENS = 40
CONFLICT = re.compile(r"seccomp-drive: \S+ was changed on the remote meanwhile; .* beside it as (\S+)\n")


def putting_tokens(machines: Machines, how: str, sessions: str) -> list[Session]:
    (machines.share / "tokens").touch()
    script = f"{SOURCES}/tokens.py"
    return [
        machines.start(machine, "python3", script, how, "tokens", f"{machine}{number}", str(TOKENS))
        for number, machine in enumerate(sessions)
    ]


@pytest.mark.parametrize("how", ["append", "posix", "flock", "ofd"])
def test_one_machine(machines: Machines, how: str) -> None:
    """Three sessions append to one file, or write it anew under a lock of each kind: every token is there once."""
    confirmed = [token for session in putting_tokens(machines, how, "aaa") for token in session.ended(0).splitlines()]
    assert sorted((machines.share / "tokens").read_text().splitlines()) == sorted(confirmed)
    assert [path.name for path in machines.share.iterdir()] == ["tokens"]


@pytest.mark.parametrize("how", ["append", "rewrite"])
def test_two_machines(machines: Machines, how: str) -> None:
    """What two machines write at the same time is in the file or in a conflict copy that somebody was told of."""
    started = putting_tokens(machines, how, "ab")
    confirmed = {token for session in started for token in session.ended(0).splitlines()}
    found = {token for path in machines.share.iterdir() for token in path.read_text().splitlines()}
    assert found == confirmed
    told = {kept for session in started for kept in CONFLICT.findall(session.said)}
    assert told == {path.name for path in machines.share.iterdir()} - {"tokens"}


def test_inside_a_folder_that_is_renamed(machines: Machines) -> None:
    """A working directory and a dirfd lead to the folder wherever another session has moved it."""
    (machines.share / "d/e").mkdir(parents=True)
    inside = machines.python(
        "a",
        """
folder = os.open("d", os.O_RDONLY)
os.chdir("d/e")
print("inside")
input()
os.close(os.open("made", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=folder))
open("here", "w").write("content")
os.rename("here", "../there")
print(os.getcwd(), os.listdir(folder), open("../there").read())""",
    )
    inside.answer("inside")
    machines.start("a", "mv", "d", "moved").ended(0)
    machines.start("a", "mkdir", "d").ended(0)
    inside.go_on()
    said = inside.ended(0).splitlines()[1]
    assert said.startswith(f"{machines.prefix}/moved/e [") and said.endswith("] content")
    found = {str(path.relative_to(machines.share)) for path in machines.share.rglob("*")}
    assert found == {"d", "moved", "moved/e", "moved/made", "moved/there"}


@pytest.mark.parametrize("machine", ["a", "b"])
def test_the_end_of_another_session(machines: Machines, machine: str) -> None:
    """A session that ends while another is writing the file that it has read, or written too, leaves it alone."""
    (machines.share / "f").write_text("old")
    writing = machines.python(
        "a",
        """
file = open("f", "w")
file.write("one")
file.flush()
print("written")
input()
file.write(" two")
file.close()""",
    )
    writing.answer("written")
    machines.start(machine, "cat", "f").ended(0)
    machines.start(machine, "touch", "other").ended(0)
    assert (machines.share / "f").read_text() == "old"
    if machine == "a":
        machines.start(machine, "sh", "-c", ": >> f; chmod 600 f").ended(0)
    writing.go_on()
    writing.ended(0)
    assert (machines.share / "f").read_text() == "one two"
    assert not [session.said for session in machines.sessions if session.said]


def test_a_lock_outlives_a_new_version(machines: Machines) -> None:
    """While somebody has a file locked, his machine keeps to the version that he has, so that nobody is alone with
    his lock; the next open after that sees what another machine has written meanwhile."""
    (machines.share / "f").write_text("old")
    holding = machines.python(
        "a", 'file = open("f")\nfcntl.flock(file, fcntl.LOCK_EX)\nprint("locked")\ninput()\nprint(file.read())'
    )
    holding.answer("locked")
    machines.start("b", "sh", "-c", "echo new > f").ended(0)
    machines.start("a", "flock", "--nonblock", "f", "true").ended(1)
    assert machines.start("a", "cat", "f").ended(0) == "old"
    holding.go_on()
    assert holding.ended(0) == "locked\nold\n"
    assert machines.start("a", "flock", "--nonblock", "f", "cat", "f").ended(0) == "new\n"


@pytest.mark.parametrize("encrypted", [False, True], ids=["share", "encrypted"])
def test_a_lock_that_is_given_up(machines: Machines) -> None:
    """By the program that has it: its next open sees what another machine has written meanwhile."""
    machines.start("b", "sh", "-c", "echo old > f").ended(0)
    script = (
        "def read():\n    with open('f') as file: return file.read()\n"
        "held = open('f')\nfcntl.flock(held, fcntl.LOCK_SH)\nprint('locked')\ninput()\n"
        "print([read(), read(), held.close(), read()])"
    )
    holding = machines.python("a", script)
    holding.answer("locked")
    machines.start("b", "sh", "-c", "echo newer > f").ended(0)
    holding.go_on()
    assert holding.ended(0) == "locked\n['old\\n', 'old\\n', None, 'newer\\n']\n"


@pytest.mark.parametrize("change", ["mv f g", "rm f", "mv d/over f", "ln f g"])
def test_a_name_changes_during_a_push(machines: Machines, change: str) -> None:
    """A session writes a file again and again while another changes its name: no conflict, nothing half-written."""
    (machines.share / "d").mkdir()
    (machines.share / "d/over").write_text("over")
    (machines.share / "f").write_text("0" * 1000)
    writing = machines.python(
        "a",
        """
print("writing")
for number in range(1, 120):
    try:
        with open("f", "r+", buffering=1000) as file:
            file.write(str(number % 10) * 1000)
    except FileNotFoundError:
        break""",
    )
    writing.answer("writing")
    machines.start("a", "sh", "-c", change).ended(0)
    writing.ended(0)
    left = {
        str(path.relative_to(machines.share)): path.read_text()
        for path in machines.share.rglob("*")
        if path.is_file()
    }
    expected = {"mv f g": {"d/over", "g"}, "rm f": {"d/over"}, "mv d/over f": {"f"}, "ln f g": {"d/over", "f", "g"}}
    assert set(left) == expected[change]
    for name in {"f", "g"} & set(left):
        text = left[name].removeprefix("over") if change == "mv d/over f" and len(left[name]) == 4 else left[name]
        assert len(set(text)) <= 1
    assert not [session.said for session in machines.sessions if session.said]
