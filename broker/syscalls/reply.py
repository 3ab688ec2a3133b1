"""What a handler answers. One place, the dispatcher, turns it into ioctls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct, field


class Continue(Struct, frozen=True):
    """The kernel runs the call as it is."""


class Return(Struct, frozen=True):
    """The call returns `value`; `memory` are (address, bytes) to write into the tracee before."""

    value: int = 0
    memory: tuple[tuple[int, bytes | bytearray], ...] = ()


class Fail(Struct, frozen=True):
    """The call fails with `errno` (positive)."""

    errno: int


class InstallFd(Struct, frozen=True):
    """The broker's descriptor `fd` becomes one of the tracee's, and its number the result. It is closed here."""

    fd: int
    cloexec: bool
    ranged: bool = False
    """Whether it belongs into the range whose `close` is trapped."""
    least: int | None = None
    """The lowest number that a copy may get (fcntl(F_DUPFD)); where the range has none, the kernel makes the copy."""
    undo: Callable[[], Awaitable[object]] | None = None
    """Takes back what the call had made, when the program cannot have the descriptor (EMFILE)."""


class Redirect(Struct, frozen=True):
    """The tracee runs the system call `number` instead, with `fd` injected for argument `fd_argument`; -1 is none.

    `failure`: the errno that it sees although that call succeeds, and where ptrace is refused.
    """

    fd: int
    number: int
    arguments: tuple[int, int, int, int, int, int]
    fd_argument: int = 0
    failure: int = 0
    undo: Callable[[], Awaitable[object]] | None = None
    """Takes back what was made ready, when the call fails."""
    kept: int | None = None
    """A descriptor of ours that is to stay open meanwhile, and is closed then."""


Reply = Continue | Return | Fail | InstallFd | Redirect


class Unserved(OSError):
    """What a drive cannot do: the errno, and `why`, a line for the user."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(number, why)
        self.why = why


class Interruptible(Struct):
    """Whether a signal may end the wait for a call: until it has begun to change something."""

    allowed: bool = field(default=True)
