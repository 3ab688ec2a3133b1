"""Pools have all their threads from the beginning."""

from __future__ import annotations

import subprocess
import sys
import threading

from broker.pools import pool


def test_all_threads_run_before_they_are_needed() -> None:
    """No later work starts one, and all of them work at once."""
    made = pool(3, "ours")
    try:
        before = threading.active_count()
        assert sum(thread.name.startswith("ours") for thread in threading.enumerate()) == 3
        together = threading.Barrier(3, timeout=20)
        done = [made.submit(together.wait) for _ in range(3)]
        assert {each.result() for each in done} == {0, 1, 2}
        assert threading.active_count() == before
    finally:
        made.shutdown()
    assert not any(thread.name.startswith("ours") for thread in threading.enumerate())


LIMITED = """
import resource, threading
from broker.pools import pool
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (20 << 20), resource.RLIM_INFINITY))
try:
    pool(64, "ours")
except RuntimeError as error:
    print(error)
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join(20)
print(threading.active_count())
"""


def test_one_that_cannot_be_started_is_an_error() -> None:
    """There is no pool then, and those that were started have ended."""
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=100)
    assert done.stdout == "can't start new thread\n1\n", done.stderr
