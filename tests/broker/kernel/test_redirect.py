"""Redirects: another system call in place of the trapped one, whatever happens to the program meanwhile."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from redirecting import FCHDIR, redirect, redirect_chdir, redirect_exec
from tracee import running

from broker.kernel import native
from broker.kernel.native import AUDIT_ARCH_I386, AUDIT_ARCH_X86_64

CHDIR = {AUDIT_ARCH_X86_64: 80, AUDIT_ARCH_I386: 12}
PTRACE = 101

both = pytest.mark.parametrize("arch", [AUDIT_ARCH_X86_64, AUDIT_ARCH_I386], ids=["x86_64", "i386"])


def open_numbers() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


@both
def test_chdir_is_redirected(arch: int, tmp_path: Path) -> None:
    """The program's own working directory changes, its call returns 0, and no descriptor is left behind."""

    def change() -> tuple[int, str, bool]:
        before = open_numbers()
        result = native.call(arch, CHDIR[arch], (b"/drive/folder",))
        return result, os.getcwd(), open_numbers() == before

    with running(change) as session:
        assert redirect_chdir(session, session.next(), tmp_path) == 0
        assert session.result() == (0, str(tmp_path), True)


def test_the_error_of_a_redirected_call_is_the_programs(tmp_path: Path) -> None:
    """fchdir to a file is ENOTDIR, for the program and in the result."""
    (tmp_path / "file").touch()

    def change() -> int:
        try:
            os.chdir("/drive/file")
        except OSError as error:
            return error.errno or 0
        return 0

    with running(change) as session:
        trapped = session.next()
        file = os.open(tmp_path / "file", os.O_RDONLY)
        assert redirect(session, trapped, file, FCHDIR[trapped.arch]) == -errno.ENOTDIR
        os.close(file)
        assert session.result() == errno.ENOTDIR


def test_many_redirects_in_a_row(tmp_path: Path) -> None:
    """Each thread of the program changes something again and again, all registers stay as they were."""

    def change() -> bool:
        def often() -> None:
            for _ in range(20):
                os.chdir("/drive/x")

        threads = [threading.Thread(target=often) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return os.getcwd() == str(tmp_path)

    with running(change) as session:
        for _ in range(80):
            assert redirect_chdir(session, session.next(), tmp_path) == 0
        assert session.result()


def test_exec_is_redirected() -> None:
    """The program is replaced, by one whose arguments and environment are those of the call."""

    def execute() -> None:
        os.execve("/drive/bin/sh", ["sh", "-c", 'exit "$CODE"'], {"CODE": "7"})

    with running(execute) as session:
        assert redirect_exec(session, session.next()) == 0
        session.finish()
        what, status = session.ending()
    assert (what, os.waitstatus_to_exitcode(status)) == ("ended", 7)


def test_a_failed_exec_leaves_the_program_as_it_was() -> None:
    """ENOENT, no descriptor left, and the program goes on."""

    def execute() -> tuple[int, bool]:
        before = open_numbers()
        try:
            os.execv("/drive/bin/there-is-none", ["x"])
        except OSError as error:
            return error.errno or 0, open_numbers() == before
        raise AssertionError

    with running(execute) as session:
        assert redirect_exec(session, session.next()) == -errno.ENOENT
        assert session.result() == (errno.ENOENT, True)


def test_exec_from_a_thread() -> None:
    """The thread takes over the id of its process; the redirect finds it there."""

    def execute() -> None:
        threading.Thread(target=os.execv, args=("/drive/bin/sh", ["sh", "-c", "exit 5"])).start()
        signal.pause()

    with running(execute) as session:
        trapped = session.next()
        assert trapped.tid != session.program
        assert redirect_exec(session, trapped) == 0
        session.finish()
        what, status = session.ending()
    assert (what, os.waitstatus_to_exitcode(status)) == ("ended", 5)


def test_exec_after_vfork() -> None:
    """The child shares its parent's memory until the exec; neither is disturbed."""

    def spawn() -> tuple[int, bytes]:
        done = subprocess.run(["/drive/bin/echo", "hello"], stdout=subprocess.PIPE, close_fds=True)
        return done.returncode, done.stdout

    with running(spawn) as session:
        assert redirect_exec(session, session.next()) == 0
        assert session.result() == (0, b"hello\n")


def test_a_dead_program_is_process_lookup_error() -> None:
    """Killed before: there is nothing to trace."""
    with running(os.chdir, "/drive/x") as session:
        trapped = session.next()
        os.kill(session.program, signal.SIGKILL)
        session.finish()
        with pytest.raises(ProcessLookupError):
            native.redirect(
                session.listener, trapped.cookie, trapped.tid, trapped.tid, trapped.arch, 0, 81, (0,) * 6, 0
            )


def test_a_program_with_a_debugger_is_refused_and_still_waits() -> None:
    """EPERM from ptrace; the notification is unanswered, and the broker can fail the call."""

    def change() -> int:
        native.call(AUDIT_ARCH_X86_64, PTRACE, (0,))  # PTRACE_TRACEME
        try:
            os.chdir("/drive/x")
        except OSError as error:
            return error.errno or 0
        return 0

    with running(change) as session:
        trapped = session.next()
        with pytest.raises(PermissionError):
            redirect_chdir(session, trapped, "/tmp")
        assert native.id_valid(session.listener, trapped.cookie)
        session.answer(trapped, error=-errno.EPERM)
        assert session.result() == errno.EPERM


def test_a_program_without_a_free_descriptor_gets_emfile() -> None:
    """The descriptor cannot be injected: the call fails with the true errno, and the program goes on."""

    def change() -> tuple[int, str]:
        limit = os.dup(2) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        try:
            os.chdir("/drive/x")
        except OSError as error:
            return error.errno or 0, os.getcwd()
        return 0, ""

    with running(change) as session:
        assert redirect_chdir(session, session.next(), "/tmp") == -errno.EMFILE
        assert session.result() == (errno.EMFILE, os.getcwd())
