"""The lane's threads: many callers, foreign ones, the end of the last, and being stopped."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import select
import struct
import threading
from pathlib import Path

import pytest
from tracee import DEADLINE, running

from broker.kernel import native
from broker.kernel.lane import Lane
from broker.table import TABLE

UNSHARE = 272
CLONE_NEWPID = 0x20000000
STAT = 4
USERFAULTFD = 323
UFFDIO_API = 0xC018AA3F
UFFDIO_REGISTER = 0xC020AA00
UFFDIO_ZEROPAGE = 0xC020AA04
MODE_MISSING = 1


def test_a_process_with_200_threads(tmp_path: Path) -> None:
    """All at once, none false: local files are there, drive paths are handed over, once each."""
    (tmp_path / "file").touch()

    def storm() -> int:
        wrong = []

        def work(number: int) -> None:
            for _ in range(20):
                if not os.path.exists(tmp_path / "file"):
                    wrong.append(number)
            os.path.exists(f"/drive/{number}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(wrong)

    with running(storm, threads=4) as session:
        seen = session.finish()
        assert session.ending() == ("returned", 0)
        counters = session.lane.counters()
    assert sorted(path for trapped in seen for path in trapped.paths if path) == sorted(
        b"/drive/%d" % number for number in range(200)
    )
    assert counters["handed_over"] == 200
    assert counters["received"] == counters["continued"] + 200
    assert counters["continued"] >= 4000


class HeldPage:
    """A page of this process that blocks whoever reads it, until it is released (userfaultfd(2))."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._fault = native.call(native.AUDIT_ARCH_X86_64, USERFAULTFD, (os.O_CLOEXEC,))
        fcntl.ioctl(self._fault, UFFDIO_API, struct.pack("=QQQ", 0xAA, 0, 0))
        fcntl.ioctl(self._fault, UFFDIO_REGISTER, struct.pack("=QQQQ", self.address, mmap.PAGESIZE, MODE_MISSING, 0))

    def wait(self) -> None:
        """Until somebody is blocked."""
        os.read(self._fault, 32)

    def release(self) -> None:
        fcntl.ioctl(self._fault, UFFDIO_ZEROPAGE, struct.pack("=QQQq", self.address, mmap.PAGESIZE, 0, 0))


@pytest.mark.skipif(os.geteuid() != 0, reason="faults of the kernel are for root to hold up")
def test_a_thread_that_is_held_up_holds_up_nobody_else() -> None:
    """One program's path is behind a page that somebody must fill first; meanwhile others are served."""

    def look() -> tuple[bool, int]:
        page = HeldPage()
        results: list[int] = []

        def stat_held() -> None:
            try:
                native.call(native.AUDIT_ARCH_X86_64, STAT, (page.address, bytearray(144)))
            except OSError as error:
                results.append(error.errno or 0)

        thread = threading.Thread(target=stat_held)
        thread.start()
        page.wait()
        served = [os.path.exists("/etc/passwd") for _ in range(100)]
        unanswered = not results
        page.release()
        thread.join()
        return all(served) and unanswered, results[0]

    with running(look) as session:
        assert session.result() == (True, errno.ENOENT)


def test_stop_leaves_the_queue_to_be_taken() -> None:
    """The threads end though the program runs on; what they queued stays, and the event says so."""
    before = threads_of_this_process()
    with running(lambda: os.stat("/drive/x")) as session:
        assert select.select([session.lane.event], [], [], DEADLINE)[0]
        session.lane.stop()
        session.lane.stop()
        assert threads_of_this_process() <= before
        assert select.select([session.lane.event], [], [], 0)[0]
        (trapped,) = session.lane.take()
        assert not select.select([session.lane.event], [], [], 0)[0]
        assert not session.lane.ended
        session.answer(trapped, error=-errno.ENOENT)


def threads_of_this_process() -> int:
    return len(os.listdir("/proc/self/task"))


def test_the_end_of_the_last_program_is_told() -> None:
    """Not before its children have ended; then the event stays readable."""
    ends = os.pipe()

    def leave_a_child() -> None:
        if os.fork() == 0:
            os.read(ends[0], 1)
            os.stat("/drive/late")
            os._exit(0)

    with running(leave_a_child) as session:
        assert session.ending()[0] == "returned"
        assert not session.lane.ended
        os.write(ends[1], b"x")
        assert [trapped.paths for trapped in session.finish()] == [(b"/drive/late",)]
        assert session.lane.take() == []
        assert select.select([session.lane.event], [], [], 0)[0]
    os.close(ends[0])
    os.close(ends[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="a new pid namespace is for root")
def test_a_call_from_outside_our_pid_namespace_is_refused() -> None:
    """notif.pid is 0 then: nothing can be learned of it, and ENOSYS says that the call is not served."""

    def look() -> int:
        try:
            os.stat("/etc/passwd")
        except OSError as error:
            return error.errno or 0
        return 0

    def serve_inside(listener: int) -> None:
        native.call(native.AUDIT_ARCH_X86_64, UNSHARE, (CLONE_NEWPID,))
        if os.fork() == 0:
            lane = Lane(listener, TABLE, [], [], [], [])
            lane.start()
            while not lane.ended:
                select.select([lane.event], [], [])
            os._exit(lane.counters()["foreign"] != lane.counters()["received"])
        os._exit(os.waitstatus_to_exitcode(os.wait()[1]))

    with running(look, serve=False) as session:
        server = os.fork()
        if server == 0:
            serve_inside(session.listener)
        assert session.ending() == ("returned", errno.ENOSYS)
        assert os.waitpid(server, 0)[1] == 0


def test_a_lane_is_built_from_sane_values() -> None:
    """At least one thread, and not started twice."""
    with pytest.raises(ValueError, match="threads"):
        Lane(0, TABLE, [], [], [], [], threads=0)
    with running(lambda: None) as session, pytest.raises(RuntimeError):
        session.lane.start()
