"""A process that gets no memory for something small ends: it could not keep its promises."""

from __future__ import annotations

import subprocess
import sys

SMALL = """
import resource
from broker.kernel import native
native.end_without_memory(9)
native.end_without_memory(9)
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), resource.RLIM_INFINITY))
"""


def run(rest: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-c", SMALL + rest], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_it_ends_with_a_line_and_the_status() -> None:
    """No MemoryError is raised that something could swallow, and a thread that waits goes as well."""
    endless = """
import threading
threading.Thread(target=threading.Event().wait).start()
kept = []
try:
    while True:
        kept.append(bytes(1000))
except MemoryError:
    pass
"""
    status, _, said = run(endless)
    assert (status, said.count("\n")) == (9, 1)
    assert said.startswith("seccomp-drive: out of memory; raise its limit (ulimit -v)")


def test_what_is_large_may_fail() -> None:
    """The request is refused, and all goes on."""
    large = """
try:
    bytearray(1 << 30)
except MemoryError:
    print("refused", len([bytes(1000) for _ in range(1000)]))
"""
    assert run(large) == (0, "refused 1000\n", "")
