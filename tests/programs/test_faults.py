"""Real programs on a drive whose remote is slow, fails or is cut off, and with a broker that is killed.

The plan of each test is told of what the remote is asked for, and so no test waits by the clock.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.remotes import protocol
from broker.remotes.protocol import RemoteError
from tests.broker.remotes.control import Control
from tests.broker.remotes.plans import Moment, Plan

from . import processes
from .faulty_drive import SECONDS, FaultyDrive, ended, line_of, nothing_left
from .terminal import Terminal

pytestmark = pytest.mark.usefixtures("drive_only")

SLOW = b"slow\n" * 100
BIG = os.urandom(1 << 20) * 9


@pytest.fixture
def drive() -> Iterator[FaultyDrive]:
    """A drive with some files, in a folder with a short name, since socket paths must fit into 108 bytes."""
    base = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    drive = FaultyDrive(base, f"/drive-{base.name}", Plan())
    for folder in ("share/folder", "share/full/inner", "cache"):
        (base / folder).mkdir(parents=True)
    (drive.share / "slow").write_bytes(SLOW)
    (drive.share / "big").write_bytes(BIG)
    (drive.share / "file").write_text("old\n")
    (drive.share / "other").write_text("other\n")
    try:
        with Control(base / "control", drive.plan):
            yield drive
    finally:
        processes.end(base)
        shutil.rmtree(base)


def test_others_go_on_during_a_slow_fetch(drive: FaultyDrive) -> None:
    """While one program waits for a fetch, another of the session reads, writes, lists and makes folders."""
    slow = drive.plan.hold("read", path=b"slow")
    others = "read go; cat other; mkdir made; echo x > new; cat new; ls; stat -c %s slow; echo done"
    program = drive.start("bash", "-c", f'cd "$DRIVE"; cat slow > "$HOME/out" & {others}; wait')
    slow.reached.wait()
    assert program.stdin is not None
    program.stdin.write("go\n")
    program.stdin.flush()
    said = []
    while (line := line_of(program)) not in ("done\n", ""):
        said.append(line.strip())
    assert said == ["other", "x", *sorted(os.listdir(drive.share)), str(len(SLOW))]
    assert not slow.opened.is_set
    slow.open()
    ended(program, 0)
    assert (drive.base / "out").read_bytes() == SLOW


def test_ctrl_c_ends_a_wait(drive: FaultyDrive) -> None:
    """On a terminal the program dies by SIGINT although the fetch would never end; the file can be read later."""
    fetch = drive.plan.hold("read", path=b"slow")
    with Terminal(drive.exec("cat", f"{drive.prefix}/slow"), drive.environment, drive.base) as terminal:
        fetch.reached.wait()
        terminal.send(b"\x03")
        assert terminal.wait(SECONDS) == 128 + signal.SIGINT
    assert nothing_left(drive)
    assert ended(drive.start("cat", f"{drive.prefix}/slow"), 0)[0] == SLOW.decode()


def test_a_handler_runs_during_a_wait(drive: FaultyDrive) -> None:
    """A handler of SIGTERM is called during the fetch; Python then asks again, and gets the file."""
    fetch = drive.plan.hold("read", path=b"slow")
    program = drive.python("""
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
print(open("slow").read(), end="")""")
    fetch.reached.wait()
    program.send_signal(signal.SIGTERM)
    assert line_of(program) == "handled\n"
    assert not fetch.opened.is_set
    assert ended(program, 0)[0] == SLOW.decode()


@pytest.mark.parametrize("error, number", [(protocol.Unavailable, errno.EIO), (protocol.Forbidden, errno.EACCES)])
def test_a_fetch_fails(drive: FaultyDrive, error: type[RemoteError], number: int) -> None:
    """The open fails with the errno of what went wrong, and the next one works."""
    drive.plan.fail("read", error, path=b"file")
    program = drive.python("""
try:
    open("file")
except OSError as error:
    print(error.errno)
print(open("file").read(), end="")""")
    assert ended(program, 0)[0] == f"{number}\nold\n"


def test_a_fetch_is_cut(drive: FaultyDrive) -> None:
    """A connection that goes between two parts of a file is EIO; what had come is not taken for the file."""
    first, second = drive.plan.hold("read", path=b"big"), drive.plan.hold("read", path=b"big")
    program = drive.python(
        """
try:
    open("big")
except OSError as error:
    print(error.errno)
sys.stdin.readline()
print(os.system("cmp big " + sys.argv[1]))""",
        str(drive.share / "big"),
    )
    first.open()
    second.reached.wait()
    drive.plan.disconnect()
    second.open()
    assert line_of(program) == f"{errno.EIO}\n"
    drive.plan.connect()
    assert ended(program, 0, "go\n")[0] == "0\n"


def test_a_close_fails_once(drive: FaultyDrive) -> None:
    """close(2) says EIO when the push fails; the content is pushed before `exec` ends, and so that succeeds."""
    drive.plan.fail("write", path=b"file")
    program = drive.python("""
file = open("file", "w")
file.write("new")
try:
    file.close()
except OSError as error:
    print(error.errno)
print(open("file").read())""")
    assert ended(program, 0)[0] == f"{errno.EIO}\nnew\n"
    assert (drive.share / "file").read_text() == "new"


@pytest.mark.parametrize("thread", [False, True])
def test_a_failed_close_frees_the_number(drive: FaultyDrive, thread: bool) -> None:
    """As close(2) says: fstat and a second close are EBADF, and the next open may have the number; what was written
    arrives."""
    drive.plan.fail("write", path=b"file")
    program = drive.python(f"""
import threading
def work():
    number = os.open("file", os.O_WRONLY | os.O_TRUNC)
    os.write(number, b"new")
    for act in (os.close, os.fstat, os.close):
        try:
            act(number)
        except OSError as error:
            print(error.errno)
worker = threading.Thread(target=work)
worker.start() if {thread} else work()
worker.join() if {thread} else None
print(open("file").read())""")
    assert ended(program, 0)[0] == f"{errno.EIO}\n{errno.EBADF}\n{errno.EBADF}\nnew\n"
    assert (drive.share / "file").read_text() == "new"


@pytest.mark.parametrize("name", ["file", "new"])
def test_a_push_fails_to_the_end(drive: FaultyDrive, name: str) -> None:
    """A program that succeeded ends with 74 and the path is said; `sync` pushes it as soon as it can."""
    program = drive.start("sh", "-c", f'exec 3> "$DRIVE/{name}"; echo opened; cat >&3')
    assert line_of(program) == "opened\n"
    drive.plan.disconnect()
    said = ended(program, 74, "content")[1]
    assert f"not pushed: {drive.prefix}/{name}" in said
    drive.plan.connect()
    assert (drive.share / name).read_text() != "content"
    drive.plan.fail("write", path=os.fsencode(name))
    assert f"not pushed: {drive.prefix}/{name}" in ended(drive.sync(), 74)[1]
    ended(drive.sync(), 0)
    assert (drive.share / name).read_text() == "content"
    pushes = drive.plan.count("write")
    ended(drive.sync(), 0)
    assert drive.plan.count("write") == pushes


def test_a_program_that_fails_keeps_its_status(drive: FaultyDrive) -> None:
    """74 is for programs that succeed. What could not be pushed is pushed by the next session."""
    program = drive.start("sh", "-c", 'exec 3> "$DRIVE/file"; echo opened; cat >&3; exit 5')
    assert line_of(program) == "opened\n"
    drive.plan.disconnect()
    assert f"not pushed: {drive.prefix}/file" in ended(program, 5, "content")[1]
    drive.plan.connect()
    ended(drive.start("true"), 0)
    assert (drive.share / "file").read_text() == "content"


CHANGES = {
    "mkdir": ("mkdir", "os.mkdir('made')"),
    "create": ("write", "os.close(os.open('made', os.O_CREAT | os.O_EXCL | os.O_WRONLY))"),
    "symlink": ("symlink", "os.symlink('file', 'made')"),
    "link": ("link", "os.link('file', 'made')"),
    "mknod": ("mknod", "os.mkfifo('made')"),
    "unlink": ("remove", "os.unlink('file')"),
    "rmdir": ("rmdir", "os.rmdir('folder')"),
    "rename": ("rename", "os.rename('file', 'moved')"),
    "rename over": ("rename", "os.rename('file', 'other')"),
    "rename a folder": ("rename", "os.rename('full', 'folder')"),
    "chmod": ("set_attributes", "os.chmod('file', 0o600)"),
    "setxattr": ("set_xattr", "os.setxattr('file', 'user.name', b'value')"),
    "utime": ("set_attributes", "os.utime('file', (5, 5))"),
}
TRY = """
def tree():
    return [
        (folder, name, status.st_mode, status.st_nlink, status.st_size, status.st_mtime_ns, read(path), xattrs(path))
        for folder, folders, files in os.walk(".") for name in sorted(folders + files) if name not in ("slow", "big")
        for path in [os.path.join(folder, name)] for status in [os.lstat(path)]
    ]
def xattrs(path):
    return os.listxattr(path, follow_symlinks=False)
def read(path):
    return os.path.isfile(path) and open(path).read()
before = tree()
try:
    {change}
except OSError as error:
    print(error.errno)
else:
    print("it worked")
print([node for node in tree() if node not in before], [node for node in before if node not in tree()])
{change}
print(tree() != before)
"""


@pytest.mark.parametrize("error, number", [(protocol.NoSpace, errno.ENOSPC), (protocol.Unavailable, errno.EIO)])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_fails(drive: FaultyDrive, name: str, error: type[RemoteError], number: int) -> None:
    """The program has the remote's errno and sees what was there before; tried again, the change is made."""
    operation, change = CHANGES[name]
    drive.plan.fail(operation, error)
    assert ended(drive.python(TRY.format(change=change)), 0)[0] == f"{number}\n[] []\nTrue\n"


def test_an_answer_is_lost(drive: FaultyDrive) -> None:
    """A change that was made although its answer never came is found, at the latest by the next session."""
    drive.plan.fail("mkdir", moment=Moment.AFTER)
    ended(drive.start("mkdir", f"{drive.prefix}/made"), 1)
    assert ended(drive.start("sh", "-c", 'cd "$DRIVE"; touch made/inside; ls made'), 0)[0] == "inside\n"


def test_a_program_is_killed_in_a_wait(drive: FaultyDrive) -> None:
    """`exec` says 137, and nobody goes on waiting for a fetch that never ends."""
    fetch = drive.plan.hold("read", path=b"slow")
    program = drive.python("print(os.getpid()); open('slow')")
    pid = int(line_of(program))
    fetch.reached.wait()
    os.kill(pid, signal.SIGKILL)
    ended(program, 128 + signal.SIGKILL)
    assert nothing_left(drive)


@pytest.mark.parametrize("waiting", [False, True])
def test_the_broker_is_killed(drive: FaultyDrive, waiting: bool) -> None:
    """`exec` fails and says so, and takes the program and its children with it, also those in a wait."""
    fetch = drive.plan.hold("read", path=b"slow")
    program = drive.start("bash", "-c", 'sleep 1000 & cd "$DRIVE"; echo ready; read go; cat slow')
    assert line_of(program) == "ready\n"
    if waiting:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
        fetch.reached.wait()
    (broker,) = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
    os.kill(int(broker), signal.SIGKILL)
    program.wait(SECONDS)
    assert "seccomp-drive: the broker died" in ended(program, 125)[1]
    assert nothing_left(drive)
