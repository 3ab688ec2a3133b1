"""What the program must find as the user left it: signals and standard descriptors; and how we step aside."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from collections.abc import Iterable

from msgspec import Struct

from broker.errors import SetupError
from broker.kernel import native

_PRCTL, _PR_SET_DUMPABLE = 157, 4


class Inherited(Struct, frozen=True):
    """The signal mask of the start, whether SIGCHLD was ignored, and which of the descriptors 0-2 were closed."""

    mask: frozenset[int]
    childless: bool
    closed: tuple[int, ...]

    @staticmethod
    def take() -> Inherited:
        """Remember, then block all signals and fill the gaps, so that no descriptor of ours lands below 3.

        SIGCHLD becomes default: where it is ignored, the kernel keeps no status to wait for (wait(2), NOTES).
        """
        mask = frozenset(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()))
        childless = signal.signal(signal.SIGCHLD, signal.SIG_DFL) is signal.SIG_IGN
        closed = tuple(number for number in (0, 1, 2) if not _is_open(number))
        for number in closed:
            _to_null(number)
        return Inherited(mask, childless, closed)

    def restore_signals(self) -> None:
        """Undo what the interpreter and `take` changed. SIGPIPE and SIGXFSZ become default: CPython ignores them
        at its start and keeps no record of what they were."""
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self.childless:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def restore_descriptors(self) -> None:
        for number in self.closed:
            os.close(number)


def detach(null: Iterable[int], keep: Iterable[int]) -> None:
    """Let go of what belongs to the program: /dev/null at `null`, closed above 2 but for `keep`.

    Otherwise the reader of a pipe would wait for us after the program has closed it. And keep the program, where it
    is of the same user, from our memory and descriptors: it cannot trace what is not dumpable (ptrace(2)).
    """
    native.call(native.AUDIT_ARCH_X86_64, _PRCTL, (_PR_SET_DUMPABLE, 0, 0, 0, 0, 0))
    for number in null:
        _to_null(number)
    start = 3
    for number in sorted(keep):
        os.closerange(start, number)
        start = number + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def announce(channel: socket.socket) -> None:
    """Have SIGIO sent to this process whenever something is to be read from `channel`, or its other end closes.

    With it, sigwaitinfo(2) waits for signals and messages alike, and nothing can slip in between.
    """
    channel.setblocking(False)
    fcntl.fcntl(channel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(channel, fcntl.F_SETFL, fcntl.fcntl(channel, fcntl.F_GETFL) | os.O_ASYNC)


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends that keep messages apart. SetupError."""
    try:
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError as error:
        raise SetupError(f"cannot begin: {error.strerror}; raise the limit of open files (ulimit -n)") from None


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _to_null(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    else:
        os.set_inheritable(number, True)
