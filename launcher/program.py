"""The program's process: under the filter, its listener handed over, then the program itself by execve(2)."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence

from broker.kernel import native
from broker.table import TABLE
from launcher.filter import FilterError, compiled, install
from launcher.inherited import Inherited
from launcher.say import FAILED, NOT_EXECUTABLE, NOT_FOUND, say
from launcher.serving import GO

_SEARCH_ON = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT}  # as glibc's execvp does


def become(argv: Sequence[str], hand_over: socket.socket, spare: socket.socket, inherited: Inherited) -> int:
    """Turn this process into the program. Returns only an exit status, when that failed.

    `hand_over` leads to the broker, `spare` to init and the front: all get the listener.

    Between the filter and "go" no trapped call may be made, an import least of all: nobody would answer it.
    """
    inherited.restore_signals()
    try:
        listener, killable = install(compiled(TABLE, native.filter_cookie()))
    except FilterError as error:
        say(str(error))
        return FAILED
    if not killable:
        say("before Linux 5.19 a signal can interrupt calls that never fail with EINTR elsewhere; update the kernel")
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", listener))
    try:
        for channel in (spare, hand_over):
            channel.sendmsg([b"listener"], [rights], socket.MSG_NOSIGNAL)
        answer = hand_over.recv(len(GO))
    except (BrokenPipeError, ConnectionResetError):
        answer = b""
    if answer != GO:
        return FAILED  # the broker has told the front why
    os.close(listener)
    inherited.restore_descriptors()
    return _execute([os.fsencode(word) for word in argv], os.environb)


def _execute(argv: list[bytes], environ: Mapping[bytes, bytes]) -> int:
    """execvp(3): the exit status that a shell gives when `argv` cannot be run."""
    failure = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in _candidates(argv[0], environ):
        try:
            _run(path, argv, environ)
        except OSError as error:
            if error.errno == errno.EACCES or error.errno not in _SEARCH_ON:
                failure = error
            if error.errno != errno.EACCES and error.errno not in _SEARCH_ON:
                break
    say(f"cannot run {os.fsdecode(argv[0])}: {failure.strerror}")
    return NOT_FOUND if failure.errno in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE


def _candidates(name: bytes, environ: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Where a name is looked for: the folders of PATH, an empty one being the working directory."""
    if b"/" in name:
        yield name
    elif name:
        for folder in environ.get(b"PATH", os.fsencode(os.defpath)).split(b":"):
            yield folder + b"/" + name if folder else name


def _run(path: bytes, argv: list[bytes], environ: Mapping[bytes, bytes]) -> None:
    try:
        os.execve(path, argv, environ)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        os.execve(b"/bin/sh", [b"/bin/sh", path, *argv[1:]], environ)  # a script without "#!", as execvp(3) has it
