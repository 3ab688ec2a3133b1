"""A broker without descriptors or memory, a cache that goes or cannot be written, a program killed in the middle:
calls fail, nothing that was confirmed is lost, and nothing hangs."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import processes
from .killing import Place, tree_of
from .sides import seccomp_drive

pytestmark = pytest.mark.usefixtures("drive_only")

SECONDS = 60
WRITER = """
import os, sys
os.chdir(sys.argv[1])
print("up", flush=True)
sys.stdin.readline()
kept = []
for number in range(int(sys.argv[2])):
    try:
        file = os.open(str(number), os.O_RDWR | os.O_CREAT, 0o644)
        os.write(file, b"%d" % number * 1000)
        os.fsync(file)
        kept.append(file)
        print("written", number, flush=True)
    except OSError as error:
        print("failed", error.errno, flush=True)
for file in kept:
    try:
        os.close(file)
    except OSError as error:
        print("failed", error.errno, flush=True)
"""


@pytest.fixture
def place() -> Iterator[Place]:
    base = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    (base / "share").mkdir()
    try:
        yield Place(base)
    finally:
        processes.end(base)
        shutil.rmtree(base)


def start(place: Place, count: int) -> subprocess.Popen[str]:
    """The writer, which waits for a line."""
    session = place.start("python3", "-c", WRITER, place.prefix, str(count), stdin=subprocess.PIPE)
    assert session.stdout is not None
    assert session.stdout.readline() == "up\n"
    return session


def said(session: subprocess.Popen[str]) -> tuple[set[str], set[int], str]:
    """Let the writer go on to its end: what it has confirmed, the errnos it has met, and stderr."""
    out, err = session.communicate("go\n", timeout=SECONDS)
    lines = [line.split() for line in out.splitlines()]
    return {name for what, name in lines if what == "written"}, {int(n) for what, n in lines if what == "failed"}, err


def check(place: Place, written: set[str]) -> None:
    """What was confirmed is on the remote, after `sync`."""
    assert not processes.gone(place.base, SECONDS)
    assert place.sync() == 0
    for name in written:
        assert (place.share / name).read_text() == name * 1000


def test_no_descriptors_left(place: Place) -> None:
    """The broker's own limit is met: EMFILE, or EIO where a library has met it, and what is open goes on."""
    session = start(place, 100)
    broker = tree_of(session.pid)["broker"]
    used = len(os.listdir(f"/proc/{broker}/fd"))
    resource.prlimit(broker, resource.RLIMIT_NOFILE, (used + 20, used + 20))
    written, failed, _ = said(session)
    assert written and failed and failed <= {errno.EMFILE, errno.ENFILE, errno.EIO}
    check(place, written)


@pytest.mark.parametrize("limit", [8, 12, 14, 24])
def test_too_few_descriptors_to_begin(place: Place, limit: int) -> None:
    """The session does not begin, and one line says what to raise."""
    argv = seccomp_drive("exec", "-m", place.mount, "--", "touch", f"{place.share}/ran")
    argv = ["prlimit", f"--nofile={limit}", *argv]
    done = subprocess.run(argv, env=place.environment, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, len(done.stderr.splitlines())) == (125, 1), done.stderr
    assert done.stderr.startswith("seccomp-drive: ") and "ulimit -n" in done.stderr
    assert not (place.share / "ran").exists()


@pytest.mark.parametrize("room", [0, 1 << 20, 3 << 20, 9 << 20, 40 << 20])
def test_no_memory_left(place: Place, room: int) -> None:
    """The broker goes on, or ends and says so: no call waits for ever, and what was confirmed is on the remote."""
    session = start(place, 40)
    broker = tree_of(session.pid)["broker"]
    limit = int(Path(f"/proc/{broker}/statm").read_text().split()[0]) * resource.getpagesize() + room
    resource.prlimit(broker, resource.RLIMIT_AS, (limit, limit))
    written, failed, err = said(session)
    assert failed <= {errno.ENOMEM, errno.EIO, errno.EAGAIN}
    assert session.returncode in (0, 74, 125)
    assert session.returncode == 0 or "memory" in err
    check(place, written)


def test_limits_for_the_program_are_not_the_brokers(place: Place) -> None:
    """What `ulimit` sets softly is kept by the program alone."""
    soft = 2 << 30
    before = resource.getrlimit(resource.RLIMIT_AS)
    if before[1] != resource.RLIM_INFINITY:
        pytest.skip("the limit is a hard one here")
    resource.setrlimit(resource.RLIMIT_AS, (soft, before[1]))
    try:
        session = start(place, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    tree = tree_of(session.pid)
    assert resource.prlimit(tree["program"], resource.RLIMIT_AS)[0] == soft
    assert resource.prlimit(tree["broker"], resource.RLIMIT_AS)[0] == before[1]
    written, _, _ = said(session)
    check(place, written)


def test_the_cache_is_removed(place: Place) -> None:
    """Calls fail with EIO or find nothing; the user is told, and what was confirmed before is on the remote."""
    session = start(place, 3)
    shutil.rmtree(place.base / "cache")
    written, failed, err = said(session)
    assert not written
    assert failed and "Traceback" not in err
    check(place, written)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_the_cache_is_read_only(place: Place) -> None:
    """The session does not begin, and says what to do."""
    cache = place.base / "cache"
    cache.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(cache)], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        session = place.start("true")
        _, err = session.communicate(timeout=SECONDS)
        assert session.returncode == 125 and "give a cache directory that you may write to" in err
        assert not processes.gone(place.base, SECONDS)
    finally:
        subprocess.run(["umount", "--lazy", str(cache)], check=True)


REDIRECTS = """
import os, sys
os.chdir(sys.argv[1])
print("up", flush=True)
while True:
    os.chdir(sys.argv[1])
    os.close(os.open(sys.argv[1] + "/folder", os.O_PATH))
    os.posix_spawn("./program", ["program"], {})
    os.wait()
"""


def test_killed_in_a_redirect(place: Place) -> None:
    """A program that is killed while the broker holds it by ptrace ends, and the session serves on to its end."""
    (place.share / "folder").mkdir()
    shutil.copy("/bin/true", place.share / "program")
    for number in range(12):
        session = place.start("bash", "-c", f'python3 -c "$0" {place.prefix} & wait; ls {place.prefix}', REDIRECTS)
        assert session.stdout is not None
        assert session.stdout.readline() == "up\n"
        bash = tree_of(session.pid)["program"]
        (python,) = Path(f"/proc/{bash}/task/{bash}/children").read_text().split()
        time.sleep(number / 1000)
        os.kill(int(python), signal.SIGKILL)
        out, err = session.communicate(timeout=SECONDS)
        assert (session.returncode, out.split()) == (0, ["folder", "program"]), err
        assert not processes.gone(place.base, SECONDS)
