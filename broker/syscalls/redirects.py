"""Calls that must act on the program itself: chdir(2), execve(2), and opens with O_PATH, which ADDFD refuses.

The tracee runs another system call in place of its own. What it needs in memory is taken from its own path string:
the last component stands there already, or a ``.``, and behind it a NUL, which is an empty path.
"""

from __future__ import annotations

import errno
import os
import re

from broker.kernel import native
from broker.kernel.tracee import AT_FDCWD
from broker.namespace.resolve import Kind
from broker.syscalls.call import Call, Target
from broker.syscalls.reply import Continue, Fail, Redirect, Reply, Return, Unserved
from broker.telling import shown

AT_SYMLINK_NOFOLLOW = 0x100
AT_EACCESS = 0x200
AT_EMPTY_PATH = 0x1000
AT_EXECVE_CHECK = 0x10000
_FACCESSAT2 = 439
_HEAD = 256
"""How much of a script the kernel looks at (BINPRM_BUF_SIZE)."""
_NESTED = 5
"""Scripts that run one another, after which execve says ELOOP."""

_SHEBANG = re.compile(rb"#![ \t]*([^ \t\n\0]+)[ \t]*([^\n\0]*?)[ \t]*(?=[\n\0]|$)")

_FCHDIR = {native.AUDIT_ARCH_X86_64: 81, native.AUDIT_ARCH_I386: 133}
_OPENAT = {native.AUDIT_ARCH_X86_64: 257, native.AUDIT_ARCH_I386: 295}
_EXECVEAT = {native.AUDIT_ARCH_X86_64: 322, native.AUDIT_ARCH_I386: 358}


async def chdir(call: Call) -> Reply:
    """chdir(2)."""
    target = await call.resolve(follow=True)
    if target.native:
        return Continue()
    if not target.is_directory:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    _require(call, target, os.X_OK)
    call.services.lane.handed_out()
    call.services.lane.forget_links()
    directory = os.open(target.real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return Redirect(directory, _FCHDIR[call.trapped.arch], (0, 0, 0, 0, 0, 0))


async def getcwd(call: Call) -> Reply:
    """getcwd(2): a working directory in a mirror is shown as the path on the drive."""
    place = call.services.mounts.place_of(call.tracee.directory(AT_FDCWD))
    if place.mount is None or call.tracee.is_removed(AT_FDCWD):
        return Continue()
    text = place.virtual + b"\0"
    if len(text) > call.unsigned(1):
        return Fail(errno.ERANGE)
    return Return(len(text), ((call.unsigned(0), text),))


async def execve(call: Call) -> Reply:
    """execve(2)."""
    return await _exec(call, call.unsigned(1), call.unsigned(2), 0)


async def execveat(call: Call) -> Reply:
    """execveat(2)."""
    return await _exec(call, call.unsigned(2), call.unsigned(3), call.integer(4))


def redirect_open(call: Call, target: Target, flags: int) -> Redirect | None:
    """An open with O_PATH, run by the tracee itself in the real folder; None where its string has no word for it."""
    _require(call, target, os.F_OK, AT_SYMLINK_NOFOLLOW)
    at, folder = _last_component(call, target), os.path.dirname(target.real)
    if at is None and target.is_directory and call.path().endswith(b"."):
        at, folder = _end(call) - 1, target.real
    if at is None:
        return None
    parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return Redirect(parent, _OPENAT[call.trapped.arch], (0, at, flags, 0, 0, 0))


async def _exec(call: Call, argv: int, envp: int, flags: int) -> Reply:
    path = call.path()
    if not path and not flags & AT_EMPTY_PATH:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_EXECVE_CHECK):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if path:
        target = await call.resolve(follow=not flags & AT_SYMLINK_NOFOLLOW)
    elif call.dirfd() >= 0 and call.tracee.file_status(call.dirfd()).st_nlink == 0:
        return Continue()
    else:
        target = call.descriptor_target(call.dirfd())
    if target.resolved.seen and target.resolved.seen.kind is Kind.SYMLINK:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    interpreter = None if flags & AT_EXECVE_CHECK else await _interpreter(call, target)
    if interpreter is None and (target.native or not path):
        return Continue()
    if target.is_directory:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    call.services.lane.handed_out()
    number = _EXECVEAT[call.trapped.arch]
    end = _end(call)
    if interpreter is not None:
        runs = await call.resolve(follow=True, text=interpreter[0])
        for needed in (target, runs):
            if needed.is_directory:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            _require(call, needed, os.X_OK)
        scripts, asking = call.services.scripts, call.tracee.status.tgid
        helper = os.open(call.services.helper, os.O_RDONLY | os.O_CLOEXEC)
        scripts[asking] = b"\0".join((*interpreter, _shown(call, path, target), b""))

        async def forget() -> None:
            scripts.pop(asking, None)

        return Redirect(helper, number, (0, end, argv, envp, AT_EMPTY_PATH, 0), undo=forget)
    check = flags & AT_EXECVE_CHECK  # the call returns then: of a script, too, only the file is judged
    kept = await target.mirror.require(target.path) if target.mirror is not None else None
    try:
        _require(call, target, os.X_OK)
        at = _last_component(call, target)
        if at is None:
            file = os.open(target.real, os.O_RDONLY | os.O_CLOEXEC)
            return Redirect(file, number, (0, end, argv, envp, AT_EMPTY_PATH | check, 0), kept=kept)
        parent = os.open(os.path.dirname(target.real), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return Redirect(parent, number, (0, at, argv, envp, check, 0), kept=kept)
    except BaseException:
        if kept is not None:
            os.close(kept)
        raise


async def _interpreter(call: Call, target: Target, depth: int = 0) -> tuple[bytes, bytes] | None:
    """(interpreter, argument) of a script that is on a drive or whose interpreter is; others are the kernel's.

    Unserved for a program, or the program that a script runs in the end, whose own interpreter is on a drive. ELOOP
    as in exec_binprm (fs/exec.c): the helper begins a new call for each script.
    """
    if target.missing or target.is_directory:
        return None
    if depth > _NESTED:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if target.mirror is not None:
        file = await target.mirror.require(target.path)
    else:
        try:
            file = os.open(target.real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
    try:
        line = shebang(os.read(file, _HEAD))
        loader = native.elf_interpreter(file) if line is None else b""
    except OSError:
        return None
    finally:
        os.close(file)
    if loader:
        await _require_loader(call, target, loader)
    if line is None:
        return None
    runs = await call.resolve(follow=True, missing_ok=True, text=line[0])
    beyond = await _interpreter(call, runs, depth + 1)
    return None if target.native and runs.native and beyond is None else line


async def _require_loader(call: Call, target: Target, loader: bytes) -> None:
    """The kernel opens the ELF interpreter (PT_INTERP) itself, by its path: there is no call to answer.

    To run it with the program as its argument would be another program to /proc/self/exe and to itself.
    """
    found = await call.resolve(follow=True, missing_ok=True, text=loader)
    if found.native:
        return
    _require(call, target, os.X_OK)
    if found.missing:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if found.is_directory:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    _require(call, found, os.X_OK)
    program, name = shown(target.resolved.place.virtual), shown(loader)
    raise Unserved(
        errno.ELIBACC,
        f"{program} cannot be run: its ELF interpreter {name} is on a drive, where the kernel does not find it; "
        f"run `{name} {program}`, or name one on the local disk (patchelf --set-interpreter)",
    )


def shebang(head: bytes) -> tuple[bytes, bytes] | None:
    """(interpreter, argument) of a ``#!`` line as fs/binfmt_script.c reads it; None if there is none.

    The kernel makes a NUL of the last byte that it looks at, which only says whether the interpreter is whole.
    """
    found = _SHEBANG.match(head[: _HEAD - 1])
    if found is None or (found.end(1) == _HEAD - 1 and head[_HEAD - 1 :] not in b" \t\n\0"):
        return None
    return found[1], found[2]


def _require(call: Call, target: Target, mode: int, flags: int = 0) -> None:
    """Judge the whole way for the caller: the descriptor that it gets leaves out the folders above."""
    arguments = (AT_FDCWD, target.real, mode, AT_EACCESS | flags, 0, 0)
    native.call(native.AUDIT_ARCH_X86_64, _FACCESSAT2, arguments, call.identity())


def _shown(call: Call, path: bytes, target: Target) -> bytes:
    """What the interpreter is told to read: the path as the program gave it, where that still means the file."""
    if call.dirfd() == AT_FDCWD and path:
        return path
    return target.resolved.place.virtual


def _last_component(call: Call, target: Target) -> int | None:
    """Where, in the tracee's own string, the name stands that the file has in its real folder; None if nowhere."""
    path = call.path()
    shortened = path.rstrip(b"/")
    name = target.resolved.place.name
    if not name or target.resolved.name != name or shortened.rpartition(b"/")[2] != name:
        return None
    return _end(call) - len(path) + len(shortened) - len(name)


def _end(call: Call) -> int:
    """Where the NUL of the tracee's own string stands."""
    return call.unsigned(call.row.paths[0][1]) + len(call.path())
