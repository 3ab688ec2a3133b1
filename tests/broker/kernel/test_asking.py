"""Looking into threads with other ids without CAP_SYS_PTRACE, and as whom this is done. Each test is a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take other ids")

ROOT = Path(__file__).parents[3]
USER = 65534

BEFORE = f"""
import ctypes, errno, os, signal, threading
from broker.kernel import native
gate = os.pipe()
text = ctypes.create_string_buffer(b"abc")
place = ctypes.addressof(text)
def drop(real, effective, saved):
    os.setgroups([])
    os.setresgid({USER}, {USER}, {USER})
    os.setresuid(real, effective, saved)
def prctl(option, value):
    assert ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0
def target(*prepare):
    pid = os.fork()
    if pid == 0:
        try:
            for step in prepare:
                step()
            prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            os.write(gate[1], b"x")
            signal.pause()
        finally:
            os._exit(1)
    assert os.read(gate[0], 1) == b"x"
    return pid
def dropped():
    return target(lambda: drop({USER}, {USER}, {USER}), lambda: prctl(4, 1))  # PR_SET_DUMPABLE, as nginx does
def me():
    status = native.status(threading.get_native_id())
    return status.ids, status.groups, status.effective, status.permitted
before = me()
"""

LOOKS = """
pid = dropped()
assert native.read_string(pid, place, 8) == b"abc"
native.write_memory(pid, place, b"xyz")
assert native.read_memory(pid, place, 4) == b"xyz\\0"
assert native.read_link(pid, b"/proc/%d/cwd" % pid) == os.getcwdb()
os.close(native.open_proc(pid, b"cwd", os.O_PATH))
copy = native.get_descriptor(pid, 0)
assert os.fstat(copy) == os.fstat(0)
assert native.free_number(pid, 0, 1000) is not None
for call in (lambda: native.read_memory(pid, 4096, 8), lambda: native.get_descriptor(pid, 999)):
    try:
        call()
    except OSError as error:
        print(errno.errorcode[error.errno])
assert me() == before
os.kill(pid, signal.SIGKILL)
"""

REFUSED = """
def unreadable(pid):
    found = []
    for look in (
        lambda: native.read_memory(pid, place, 8),
        lambda: native.read_link(pid, b"/proc/%d/cwd" % pid),
        lambda: native.get_descriptor(pid, 0),
    ):
        try:
            look()
        except native.Unreadable:
            found.append(True)
    assert me() == before
    return len(found)
for pid in (
    target(lambda: drop({0}, {0}, {0})),
    target(lambda: drop({0}, 0, 0), lambda: prctl(4, 1)),
    target(lambda: drop({0}, {0}, {0}), lambda: prctl(4, 1), lambda: prctl(4, 0)),
):
    print(unreadable(pid))
    os.kill(pid, signal.SIGKILL)
""".replace("{0}", str(USER))

WITHOUT_SIGNALS = f"""
pid = dropped()
quit, seen = threading.Event(), set()
def look():
    while not quit.is_set():
        native.read_link(pid, b"/proc/%d/cwd" % pid)
        native.read_memory(pid, place, 8)
looking = threading.Thread(target=look)
looking.start()
kill = os.fork()
if kill == 0:
    drop({USER}, {USER}, {USER})
    tried = 0
    for _ in range(100_000):
        try:
            os.kill(looking.native_id, signal.SIGKILL)
        except PermissionError:
            tried += 1
    os._exit(tried != 100_000)
assert os.waitpid(kill, 0)[1] == 0
quit.set()
looking.join()
os.kill(pid, signal.SIGKILL)
print("alive")
"""


def outcome(script: str) -> list[str]:
    """What `script` prints as root without CAP_SYS_PTRACE."""
    argv = ["setpriv", "--bounding-set=-sys_ptrace", sys.executable, "-c", BEFORE + script]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def test_a_thread_with_other_ids_is_looked_into() -> None:
    """Its memory, links and descriptors, with the kernel's errors, and this thread is itself after each of them."""
    assert outcome(LOOKS) == ["EFAULT", "EBADF"]


def test_whom_nobody_may_look_into() -> None:
    """Who changed its ids without an exec, has several, or is undumpable: Unreadable, and all is given back."""
    assert outcome(REFUSED) == ["3", "3", "3"]


def test_its_user_cannot_signal_the_thread_that_looks() -> None:
    """While memory and links are read, processes of that user try to kill the reader, and are refused each time."""
    assert outcome(WITHOUT_SIGNALS) == ["alive"]
