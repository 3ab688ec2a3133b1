"""Threads that run before they are needed. One that cannot be started later would cost a call; and its work would be
left in the queue, for a time when nobody waits for it and its descriptors stand for something else."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

_STACK = 1 << 20
"""Bytes. The usual 8 MiB would be much of an address space that is limited (ulimit -v)."""


def pool(threads: int, name: str) -> ThreadPoolExecutor:
    """An executor all of whose `threads` run. RuntimeError if one cannot be started."""
    made = ThreadPoolExecutor(threads, name)
    together = threading.Barrier(threads + 1)
    usual = threading.stack_size(_STACK)
    try:
        for _ in range(threads):
            made.submit(together.wait)
        together.wait()
    except RuntimeError:
        together.abort()
        made.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        threading.stack_size(usual)
    return made
