"""What the kernel lets a supervisor do, tried on a child under a filter of one system call."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable

from msgspec import Struct

from broker.kernel import native
from launcher import bpf
from launcher.filter import FilterError, install

_GETPPID = 110
_FCHDIR = 81
_CAP_SYS_PTRACE = 19
_RECEIVE = 0xC0502100  # SECCOMP_IOCTL_NOTIF_RECV
_NOTIFICATION = struct.Struct("=QI68x")
_PERMITTED = (errno.EFAULT, errno.EIO)  # there is no page at that address, and we were told

TRAP_GETPPID = bpf.assemble(
    [
        bpf.Instruction(bpf.LOAD, 0, 0, 0),
        bpf.Instruction(bpf.JUMP_EQUAL, 0, 1, _GETPPID),
        bpf.Instruction(bpf.RETURN, 0, 0, bpf.NOTIFY),
        bpf.Instruction(bpf.RETURN, 0, 0, bpf.ALLOW),
    ]
)


class Supervision(Struct, frozen=True):
    """What worked. `refusal` says why no filter could be installed; the errors are None where it did work."""

    refusal: str | None = None
    killable: bool = False
    sync_wake_up: bool = False
    add_fd: str | None = "not tried"
    redirect: str | None = "not tried"


def supervision() -> Supervision:
    """Supervise a child through two calls, one answered with a descriptor and one redirected by ptrace."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        pid = _child(lambda: _target(theirs))
        theirs.close()
        try:
            message, ancillary, _, _ = ours.recvmsg(4096, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
            if not ancillary:
                return Supervision(refusal=message[1:].decode() or "the child that tried it died")
            listener: int = struct.unpack("i", ancillary[0][2])[0]
            return _supervise(listener, killable=message[:1] == b"1")
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


def foreign_memory() -> str | None:
    """How this process can read the memory of one that has dropped from root to another user.

    "capability" (CAP_SYS_PTRACE), "ids" (taking its ids), None for not at all. Only for root.
    OSError when no such process could be started.
    """
    end, other = os.pipe()
    pid = _child(lambda: _nobody(other))
    os.close(other)
    failure = os.read(end, 4)  # empty: closed by its execve, which makes it dumpable again
    os.close(end)
    try:
        if failure:
            number = int.from_bytes(failure, "little")
            raise OSError(number, os.strerror(number))
        if not _can_read(pid):
            return None
        return "capability" if native.status(os.getpid()).effective >> _CAP_SYS_PTRACE & 1 else "ids"
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def descriptor_copies() -> bool:
    """Whether pidfd_getfd(2) is allowed, which a sandbox around this process may keep for CAP_SYS_PTRACE."""
    end, other = os.pipe()
    try:
        os.close(native.get_descriptor(os.getpid(), end))
    except OSError:
        return False
    finally:
        os.close(end)
        os.close(other)
    return True


def call_works(arch: int, number: int, *arguments: int | bytes | bytearray) -> bool:
    """Whether a system call succeeds, tried in a child since a wrong architecture may end it."""

    def attempt() -> int:
        native.call(arch, number, arguments)
        return 0

    return os.waitpid(_child(attempt), 0)[1] == 0


def _child(body: Callable[[], int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os._exit(body())
    except BaseException:
        os._exit(1)


def _target(channel: socket.socket) -> int:
    try:
        listener, killable = install(TRAP_GETPPID)
    except FilterError as error:
        channel.send(b"-" + str(error).encode())
        return 1
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", listener))
    channel.sendmsg([b"1" if killable else b"0"], [rights])
    os.close(listener)
    for _ in range(2):
        os.getppid()
    return 0


def _supervise(listener: int, killable: bool) -> Supervision:
    sync = native.sync_wake_up(listener)
    folder = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        cookie, _ = _receive(listener)
        add_fd = _error(lambda: native.add_fd(listener, cookie, folder, None, cloexec=True))
        native.send(listener, cookie, 0, 0, 0)
        cookie, tid = _receive(listener)
        arguments = (0, 0, 0, 0, 0, 0)
        redirect = _error(
            lambda: native.redirect(
                listener, cookie, tid, tid, native.AUDIT_ARCH_X86_64, folder, _FCHDIR, arguments, 0
            )
        )
        return Supervision(None, killable, sync, add_fd, redirect)
    finally:
        os.close(folder)
        os.close(listener)


def _receive(listener: int) -> tuple[int, int]:
    buffer = bytearray(_NOTIFICATION.size)
    fcntl.ioctl(listener, _RECEIVE, buffer)
    cookie, tid = _NOTIFICATION.unpack(buffer)
    return cookie, tid


def _error(attempt: Callable[[], int]) -> str | None:
    try:
        attempt()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _nobody(report: int) -> int:
    try:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        os.execv("/bin/sleep", ["sleep", "60"])
    except OSError as error:
        os.write(report, (error.errno or 1).to_bytes(4, "little"))
    return 1


def _can_read(pid: int) -> bool:
    try:
        native.read_memory(pid, 0x1000, 1)
    except OSError as error:
        return error.errno in _PERMITTED
    return True
