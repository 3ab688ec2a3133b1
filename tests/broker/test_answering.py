"""Replies as ioctls, on a listener whose kernel is played by the test."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any, cast

import pytest

from broker.answering import Answerer
from broker.kernel import native
from broker.syscalls.call import Call
from broker.syscalls.reply import Continue, Fail, InstallFd, Redirect, Return
from broker.table import RANGE_END, RANGE_START

CONTINUED = (0, 0, 1)


class Kernel:
    """What a notification was answered with, and a tracee's descriptors."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[int, int, int]] = []
        self.open = {0, 1, 2}
        self.limit = 4096
        self.gone = False
        monkeypatch.setattr(native, "send", self._send)
        monkeypatch.setattr(native, "add_fd", self._add)
        self.answerer = Answerer(-1, lambda line: None)

    def answer(self, reply: Any) -> tuple[int, int, int]:
        call = type("Call", (), {"trapped": type("Trapped", (), {"cookie": 1, "tid": 1}), "tracee": self})
        asyncio.run(self.answerer.answer(cast(Call, call), reply))
        self.answerer.close()
        return self.sent[-1] if self.sent else (0, 0, 0)

    def free_number(self, first: int, last: int) -> int | None:
        return next((number for number in range(first, last + 1) if number not in self.open), None)

    def _send(self, listener: int, cookie: int, value: int, error: int, flags: int) -> None:
        if self.gone:
            raise FileNotFoundError(errno.ENOENT, "")
        self.sent.append((value, error, flags))

    def _add(self, listener: int, cookie: int, fd: int, number: int | None, cloexec: bool) -> int:
        os.fstat(fd)
        if number is None:
            number = min(set(range(self.limit + 4)) - self.open)
        if number >= self.limit:
            raise OSError(errno.EMFILE, "")
        self.open.add(number)
        return number


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


def _file() -> int:
    return os.memfd_create("reply")


def test_plain_replies(kernel: Kernel) -> None:
    """Values as they are, errors negative, and the flag for what the kernel is to do itself."""
    assert kernel.answer(Continue()) == CONTINUED
    assert kernel.answer(Return(7)) == (7, 0, 0)
    assert kernel.answer(Fail(errno.ENOENT)) == (0, -errno.ENOENT, 0)


def test_a_descriptor_is_injected_and_ours_closed(kernel: Kernel) -> None:
    """The lowest number, or one of the range."""
    file = _file()
    assert kernel.answer(InstallFd(file, True)) == (3, 0, 0)
    with pytest.raises(OSError):
        os.fstat(file)
    assert kernel.answer(InstallFd(_file(), True, ranged=True)) == (RANGE_START, 0, 0)


@pytest.mark.parametrize("why", ["stdin is free", "full", "limit"])
def test_where_the_range_has_no_room(kernel: Kernel, why: str) -> None:
    """A new file gets the lowest number; of a copy the kernel makes one not below its least, and ours is closed."""
    kernel.limit = 100 if why == "limit" else 4096
    kernel.open -= {0} if why == "stdin is free" else set()
    kernel.open |= set(range(RANGE_START, RANGE_END + 1)) if why == "full" else set()
    lowest = 0 if why == "stdin is free" else 3
    file = _file()
    assert kernel.answer(InstallFd(file, False, ranged=True, least=0)) == CONTINUED
    with pytest.raises(OSError):
        os.fstat(file)
    assert kernel.answer(InstallFd(_file(), False, ranged=True)) == (lowest, 0, 0)


def test_a_free_stdin_says_nothing_to_a_copy_above_it(kernel: Kernel) -> None:
    """fcntl(F_DUPFD, 10) may never give 0."""
    kernel.open.remove(0)
    assert kernel.answer(InstallFd(_file(), False, ranged=True, least=10)) == (RANGE_START, 0, 0)


@pytest.mark.parametrize("gone", [False, True])
def test_what_cannot_be_handed_over_is_taken_back(kernel: Kernel, gone: bool) -> None:
    """EMFILE is told, a call that is gone is not; both undo what the open had made."""
    kernel.limit, kernel.gone, undone = (4096 if gone else 0), gone, []

    async def undo() -> None:
        undone.append(True)

    answer = kernel.answer(InstallFd(_file(), False, undo=undo))
    assert undone == [True]
    assert answer == ((0, 0, 0) if gone else (0, -errno.EMFILE, 0))


@pytest.mark.parametrize("result", [0, -errno.E2BIG, "refused"])
def test_what_a_redirect_had_ready_is_taken_back_when_it_fails(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, result: Any
) -> None:
    """A script's interpreter that execve(2) then refused is not kept for whoever asks next; one that runs is."""
    undone = []

    async def undo() -> None:
        undone.append(True)

    def trace(self: Answerer, call: Call, reply: Redirect, tgid: int) -> int:
        if result == "refused":
            raise OSError(errno.ESRCH, "")
        return int(result)

    monkeypatch.setattr(Answerer, "_trace", trace)
    monkeypatch.setattr(Kernel, "status", type("Status", (), {"tgid": 1}), raising=False)
    kernel.answer(Redirect(_file(), 322, (0, 0, 0, 0, 0, 0), undo=undo))
    assert undone == ([] if result == 0 else [True])
