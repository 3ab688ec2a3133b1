"""The end of a session whose remote is slow, on a terminal: what is shown, and what an interrupt does."""

from __future__ import annotations

import os

import pytest

from .faulty_drive import SECONDS, FaultyDrive, ended, faulty_drive, line_of
from .terminal import Terminal

pytestmark = pytest.mark.usefixtures("drive_only")
drive = faulty_drive


def _written(drive: FaultyDrive) -> list[str]:
    """Writes a file, which is there already, and leaves it to the end of the program to close it."""
    (drive.share / "file").touch()
    return drive.exec("sh", "-c", 'exec 3> "$DRIVE/file"; echo content >&3')


def test_a_slow_push_is_shown(drive: FaultyDrive) -> None:
    """After a second the terminal says which file is being pushed and how many are left; then that is gone."""
    push = drive.plan.hold("write", path=b"file")
    environment = {**drive.environment, "TERM": "xterm"}
    with Terminal(_written(drive), environment, drive.base) as terminal:
        push.reached.wait()
        terminal.expect(f"pushing {drive.prefix}/file".encode())
        terminal.expect(b"1 files left")
        push.open()
        assert terminal.wait(SECONDS) == 0
    assert (drive.share / "file").read_text() == "content\n"


def test_ctrl_c_says_what_is_left(drive: FaultyDrive) -> None:
    """Once: what is going on, which files, and that nothing is lost; the session waits on, and ends well."""
    push = drive.plan.hold("write", path=b"file")
    with Terminal(_written(drive), drive.environment, drive.base) as terminal:
        terminal.expect(b"pushing")  # a second after the end, when all know of it
        terminal.send(b"\x03")
        terminal.expect(b"Interrupt again to leave now")
        terminal.expect(f"still to be pushed: {drive.prefix}/file".encode())
        push.open()
        assert terminal.wait(SECONDS) == 0
    assert (drive.share / "file").read_text() == "content\n"


def test_ctrl_c_twice_leaves(drive: FaultyDrive) -> None:
    """At once, with 74 and what to do; the content is in the cache, and `sync` pushes it."""
    push = drive.plan.hold("write", path=b"file")
    with Terminal(_written(drive), drive.environment, drive.base) as terminal:
        terminal.expect(b"pushing")  # a second after the end, when all know of it
        terminal.send(b"\x03")
        terminal.expect(b"still to be pushed")
        terminal.send(b"\x03")
        terminal.expect(b'run "seccomp-drive sync"')
        assert terminal.wait(SECONDS) == 74
    out, _ = ended(drive.status(), 0)
    assert f"{drive.prefix}/file" in out and "8 bytes" in out
    drive.plan.disconnect()
    push.open()
    drive.plan.connect()
    ended(drive.sync(), 0)
    assert (drive.share / "file").read_text() == "content\n"


def test_nothing_is_said_after_the_end(drive: FaultyDrive) -> None:
    """Whoever reads our stderr sees its end when `exec` ends, though the broker has background programs to serve and
    a remote that fails."""
    script = 'exec 3> "$DRIVE/file"; echo content >&3; (exec 3>&- <&- >&- 2>&-; sleep 3) & echo ready; cat'
    program = drive.start("bash", "-c", script)
    assert line_of(program) == "ready\n"
    drive.plan.disconnect()
    _, err = ended(program, 74)
    lines = err.splitlines()
    assert [line for line in lines if "is not pushed yet" in line] == lines[:1]
    assert lines[1:] == [line for line in lines if f"not pushed: {drive.prefix}/file" in line]
    drive.plan.connect()


def test_many_pending_files(drive: FaultyDrive) -> None:
    """The list is cut off with its count; `status` has all of them."""
    script = 'cd "$DRIVE"; for i in $(seq 30); do exec {n}> f$i; echo $i >&$n; done; echo ready; cat'
    program = drive.start("bash", "-c", script)
    assert line_of(program) == "ready\n"
    drive.plan.disconnect()
    _, err = ended(program, 74)
    (line,) = [line for line in err.splitlines() if "not pushed: " in line]
    assert "and 20 more" in line
    drive.plan.connect()
    out, _ = ended(drive.status(), 0)
    assert all(f"{drive.prefix}/f{number} " in out for number in range(1, 31))
    ended(drive.sync(), 0)
    assert sorted(os.listdir(drive.share)) == sorted(f"f{number}" for number in range(1, 31))
