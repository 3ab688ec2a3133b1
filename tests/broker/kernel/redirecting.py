"""Redirects as the broker makes them, for the tests of the native part."""

from __future__ import annotations

import os
from pathlib import Path

from tracee import Session

from broker.kernel import native
from broker.kernel.lane import Trapped
from broker.kernel.native import AUDIT_ARCH_I386, AUDIT_ARCH_X86_64

FCHDIR = {AUDIT_ARCH_X86_64: 81, AUDIT_ARCH_I386: 133}
EXECVEAT = 322


def redirect(session: Session, trapped: Trapped, folder: int, number: int, *arguments: int) -> int:
    """Run system call `number` instead, with the injected descriptor as its first argument."""
    one, two, three, four, five, six = (*arguments, *(0,) * (6 - len(arguments)))
    tgid = native.status(trapped.tid).tgid
    return native.redirect(
        session.listener,
        trapped.cookie,
        trapped.tid,
        tgid,
        trapped.arch,
        folder,
        number,
        (one, two, three, four, five, six),
        0,
    )


def redirect_chdir(session: Session, trapped: Trapped, folder: Path | str) -> int:
    """fchdir to `folder`."""
    real = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return redirect(session, trapped, real, FCHDIR[trapped.arch])
    finally:
        os.close(real)


def redirect_exec(session: Session, trapped: Trapped, folder: str = "/bin") -> int:
    """execveat(folder, the last component in the caller's own string, argv, envp)."""
    path = trapped.paths[0]
    assert path is not None
    pointer, argv, envp = trapped.arguments[:3]
    real = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        name = pointer + path.rindex(b"/") + 1
        return redirect(session, trapped, real, EXECVEAT, 0, name, argv, envp)
    finally:
        os.close(real)
