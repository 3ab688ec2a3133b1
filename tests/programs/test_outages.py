"""Real programs on a drive whose remote refuses, hangs or answers rubbish, at every point of their work; and what
they find when it is back."""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import replace

import pytest

from broker.remotes import protocol
from tests.broker.remotes.plans import Moment

from .faulty_drive import FaultyDrive, ended, faulty_drive, line_of

pytestmark = pytest.mark.usefixtures("drive_only")
drive = faulty_drive

SOON = 0.3
"""Seconds without progress after which a test's remote is given up, where it hangs for ever."""
PLACES = {
    "open": ("stat", "os.open('file', os.O_RDONLY)"),
    "list": ("list", "os.listdir('folder')"),
    "fetch": ("read", "os.open('file', os.O_RDONLY)"),
    "create": ("write", "os.open('new', os.O_CREAT | os.O_WRONLY)"),
    "close": ("write", "os.close(written)"),
    "fsync": ("write", "os.fsync(written)"),
    "truncate": ("write", "os.truncate('file', 2)"),
    "mkdir": ("mkdir", "os.mkdir('new')"),
    "rename": ("rename", "os.rename('file', 'moved')"),
    "unlink": ("remove", "os.unlink('file')"),
    "chmod": ("set_attributes", "os.chmod('file', 0o600)"),
    "setxattr": ("set_xattr", "os.setxattr('file', 'user.a', b'1')"),
}
TRY = """
def tried(name, act):
    try:
        act()
    except OSError as error:
        print(name, error.errno)
    else:
        print(name, 0)
{before}
print("ready")
sys.stdin.readline()
tried("first", lambda: {act})
print("failed")
sys.stdin.readline()
{again}
"""


def _filled(drive: FaultyDrive) -> None:
    (drive.share / "file").write_text("old\n")
    (drive.share / "folder").mkdir()


@pytest.mark.parametrize("how", ["refuses", "hangs", "rubbish"])
@pytest.mark.parametrize("place", PLACES)
def test_one_call_goes_wrong(drive: FaultyDrive, place: str, how: str) -> None:
    """It is EIO, or ETIMEDOUT when the remote hangs; the next try works, and what was written arrives."""
    _filled(drive)
    operation, act = PLACES[place]
    writing = place in ("close", "fsync")
    opened = "written = os.open('file', os.O_WRONLY | os.O_TRUNC); os.write(written, b'new')"
    before = opened if writing else "import time"
    again = "import time" if place == "close" else f"tried('again', lambda: {act})"
    program = drive.python(TRY.format(before=before, act=act, again=again), timeout=SOON)
    assert line_of(program) == "ready\n"
    if how == "hangs":
        drive.plan.hold(operation)
    else:
        drive.plan.fail(operation, protocol.Unavailable if how == "refuses" else protocol.BadAnswer)
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()
    expected = errno.ETIMEDOUT if how == "hangs" else errno.EIO
    assert line_of(program) == f"first {expected}\n"
    assert line_of(program) == "failed\n"
    out, err = ended(program, 0, "\n")
    assert out == ("" if place == "close" else "again 0\n")
    if writing:
        assert (drive.share / "file").read_text() == "new"
    if how == "rubbish":
        assert "is refused: as planned" in err


def test_what_is_new_is_not_asked_for(drive: FaultyDrive) -> None:
    """O_EXCL, as tar opens what it unpacks: a file is made by one request, and its close sends the content."""
    before = drive.plan.count("stat", b"new")
    program = drive.python("""
file = os.open("new", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
os.write(file, b"content")
os.close(file)
""")
    ended(program, 0)
    assert (drive.share / "new").read_text() == "content"
    assert drive.plan.count("stat", b"new") == before
    assert drive.plan.count("write", b"new") == 2


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_the_end_goes_wrong(drive: FaultyDrive, how: str) -> None:
    """What only the end of the program closes: 74, the path, told once; the content is kept, and the next `exec`
    pushes it."""
    _filled(drive)
    program = drive.start("sh", "-c", 'exec 3> "$DRIVE/file"; echo new >&3; echo ready; cat', timeout=SOON)
    assert line_of(program) == "ready\n"
    held = [drive.plan.hold("write") for _ in range(20)] if how == "hangs" else []
    if how == "refuses":
        drive.plan.disconnect()
    _, err = ended(program, 74)
    assert err.count(f"{drive.prefix}/file is not pushed yet: ") == 1
    assert err.count(f"not pushed: {drive.prefix}/file") == 1
    for gate in held:
        gate.open()
    drive.plan.connect()
    ended(drive.start("true"), 0)
    assert (drive.share / "file").read_text() == "new\n"


def test_what_is_not_pushed_is_named_as_it_was_written(drive: FaultyDrive) -> None:
    """Also below a scheme, whose paths begin with a slash where the kernel gives them."""
    far = replace(drive, prefix="far:")
    _filled(far)
    program = far.start("sh", "-c", 'exec 3> "$DRIVE/file"; echo new >&3; echo ready; cat')
    assert line_of(program) == "ready\n"
    drive.plan.disconnect()
    assert "not pushed: far:/file. " in ended(program, 74)[1]


def test_an_outage(drive: FaultyDrive) -> None:
    """Everything fails for a while, for every program of the session, and nothing hangs; afterwards all is as if the
    remote had never been away, without a new session, and what was closed in between is there."""
    _filled(drive)
    calls = ["os.listdir('folder')", "open('file')", "open('new', 'w')", "os.mkdir('new')", "os.stat('other')"]
    program = drive.python(f"""
file = os.open("file", os.O_WRONLY | os.O_TRUNC)
os.write(file, b"new")
print("ready")
for _ in range(2):
    sys.stdin.readline()
    failed = 0
    for act in {calls}:
        try:
            eval(act)
        except FileNotFoundError:
            pass
        except OSError as error:
            failed += error.errno == 5
    try:
        os.close(file)
    except OSError as error:
        print(error.errno)
    print(failed, flush=True)
""")
    assert line_of(program) == "ready\n"
    drive.plan.disconnect()
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()
    assert line_of(program) == f"{errno.EIO}\n"
    assert line_of(program) == "5\n"
    drive.plan.connect()
    assert ended(program, 0, "\n")[0] == f"{errno.EBADF}\n0\n"
    assert (drive.share / "file").read_text() == "new"
    assert sorted(os.listdir(drive.share)) == ["file", "folder", "new"]


@pytest.mark.parametrize("restart", [False, True])
def test_an_alarm_during_a_wait(drive: FaultyDrive, restart: bool) -> None:
    """signal(7): open(2) fails with EINTR after a handler without SA_RESTART, and is made again after one with it."""
    (drive.share / "file").write_text("old\n")
    first, second = (drive.plan.hold("read", path=b"file") for _ in range(2))
    program = drive.python(f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
action = (ctypes.c_ulong * 19)()
handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: print("handled"))
action[0] = ctypes.cast(handler, ctypes.c_void_p).value
action[17] = {0x10000000 if restart else 0}
libc.sigaction(signal.SIGALRM, action, None)
print(os.getpid())
file = libc.open(b"file", os.O_RDONLY)
print(file >= 0, ctypes.get_errno() if file < 0 else 0)
""")
    pid = int(line_of(program))
    first.reached.wait()
    os.kill(pid, signal.SIGALRM)
    assert line_of(program) == "handled\n"
    if restart:
        second.reached.wait()
        second.open()
        assert ended(program, 0)[0] == "True 0\n"
    else:
        assert ended(program, 0)[0] == f"False {errno.EINTR}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_program_is_ended_while_its_close_hangs(drive: FaultyDrive, number: signal.Signals) -> None:
    """By any signal that ends it, at once, though a close is not interrupted by others; the content is kept."""
    (drive.share / "file").write_text("old\n")
    push = drive.plan.hold("write", path=b"file")
    script = "signal.signal(signal.SIGINT, signal.SIG_DFL); print(os.getpid()); f = open('file', 'w'); f.write('new')"
    program = drive.python(f"{script}; f.close()")
    pid = int(line_of(program))
    push.reached.wait()
    os.kill(pid, number)
    push.open()
    ended(program, 128 + number)
    assert (drive.share / "file").read_text() == "new"


def test_a_conflict_is_told(drive: FaultyDrive) -> None:
    """Somebody else has changed the file: both contents are on the remote, a line names the copy, and the exit status
    is the program's."""
    (drive.share / "file").write_text("old\n")
    program = drive.start("sh", "-c", 'exec 3> "$DRIVE/file"; echo ready; cat >&3')
    assert line_of(program) == "ready\n"
    (drive.share / "theirs").write_text("theirs\n")
    (drive.share / "theirs").rename(drive.share / "file")
    _, err = ended(program, 0, "ours\n")
    (copy,) = [name for name in os.listdir(drive.share) if name.startswith("file.conflict-")]
    assert (drive.share / copy).read_text() == "ours\n" and (drive.share / "file").read_text() == "theirs\n"
    (line,) = err.splitlines()
    assert line.startswith(f"seccomp-drive: {drive.prefix}/file was changed on the remote") and copy in line
    assert f"{drive.prefix}/{copy}" in ended(drive.status(), 0)[0]


def test_a_conflict_that_sync_finds(drive: FaultyDrive) -> None:
    """It is told by `sync` as well, which has pushed everything: 0."""
    (drive.share / "file").write_text("old\n")
    program = drive.start("sh", "-c", 'exec 3> "$DRIVE/file"; echo ours >&3; echo ready; cat')
    assert line_of(program) == "ready\n"
    drive.plan.disconnect()
    ended(program, 74)
    drive.plan.connect()
    (drive.share / "file").unlink()
    _, err = ended(drive.sync(), 0)
    (copy,) = os.listdir(drive.share)
    assert copy in err and (drive.share / copy).read_text() == "ours\n"


def test_an_answer_that_comes_too_late(drive: FaultyDrive) -> None:
    """The remote has taken the content after the program was told that it had not: no copy of it is left behind."""
    (drive.share / "file").write_text("old\n")
    program = drive.python(
        """
file = os.open("file", os.O_WRONLY)
os.write(file, b"one\\n")
try:
    os.fsync(file)
except OSError as error:
    print(error.errno)
os.write(file, b"two\\n")
os.close(file)
""",
        timeout=SOON,
    )
    drive.plan.hold("write", path=b"file", moment=Moment.AFTER)
    assert ended(program, 0)[0] == f"{errno.ETIMEDOUT}\n"
    assert (drive.share / "file").read_text() == "one\ntwo\n"
    assert os.listdir(drive.share) == ["file"]
