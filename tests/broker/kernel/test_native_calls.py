"""System calls made by `native`, of both architectures and as somebody else, and answers to notifications."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tracee import running

from broker.kernel import native
from broker.kernel.native import AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, Identity

GETPID = {AUDIT_ARCH_X86_64: 39, AUDIT_ARCH_I386: 20}
OPENAT = {AUDIT_ARCH_X86_64: 257, AUDIT_ARCH_I386: 295}
GETCWD = {AUDIT_ARCH_X86_64: 79, AUDIT_ARCH_I386: 183}
CHDIR = {AUDIT_ARCH_X86_64: 80, AUDIT_ARCH_I386: 12}
AT_FDCWD = -100
NOBODY = Identity(65534, 65534, (), 0)

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another identity")
both = pytest.mark.parametrize("arch", [AUDIT_ARCH_X86_64, AUDIT_ARCH_I386], ids=["x86_64", "i386"])


@both
def test_calls_answer_as_the_interpreter_would(arch: int, tmp_path: Path) -> None:
    """Numbers, strings and output buffers through both entries, and errno as OSError."""
    assert native.call(arch, GETPID[arch], ()) == os.getpid()
    buffer = bytearray(4096)
    length = native.call(arch, GETCWD[arch], (buffer, len(buffer)))
    assert bytes(buffer[: length - 1]) == os.getcwdb()
    path = os.fsencode(tmp_path / "made")
    made = native.call(arch, OPENAT[arch], (AT_FDCWD, path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    os.close(made)
    assert (tmp_path / "made").exists()
    with pytest.raises(FileNotFoundError):
        native.call(arch, OPENAT[arch], (AT_FDCWD, path + b"-none", 0, 0))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter and write to, as tmp_path is not."""
    folder = Path(tempfile.mkdtemp(prefix="seccomp-drive-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@root_only
@both
def test_a_call_acts_as_the_identity_says(arch: int, open_folder: Path) -> None:
    """Files are refused to, and owned by, whom the identity names; afterwards the thread is itself again."""
    secret, theirs = open_folder / "secret", open_folder / "theirs"
    secret.touch(0o600)
    before = native.status(threading.get_native_id())
    with pytest.raises(PermissionError):
        native.call(arch, OPENAT[arch], (AT_FDCWD, bytes(secret), os.O_RDONLY, 0), NOBODY)
    who = Identity(1234, 2345, (3456, 4567), 0)
    os.close(native.call(arch, OPENAT[arch], (AT_FDCWD, bytes(theirs), os.O_CREAT | os.O_WRONLY, 0o600), who))
    assert (theirs.stat().st_uid, theirs.stat().st_gid) == (1234, 2345)
    after = native.status(threading.get_native_id())
    assert (after.ids, after.groups) == (before.ids, before.groups)
    assert (after.effective, after.permitted) == (before.effective, before.permitted)
    os.close(native.call(arch, OPENAT[arch], (AT_FDCWD, bytes(secret), os.O_RDONLY, 0)))


@root_only
def test_the_groups_of_an_identity_count(open_folder: Path) -> None:
    """A file for a group is open to an identity with it among its supplementary groups, and to no other."""
    shared = open_folder / "shared"
    shared.touch()
    os.chown(shared, 0, 3456)
    shared.chmod(0o040)
    arguments = (AT_FDCWD, bytes(shared), os.O_RDONLY, 0)
    os.close(native.call(AUDIT_ARCH_X86_64, 257, arguments, Identity(1234, 2345, (3456,), 0)))
    with pytest.raises(PermissionError):
        native.call(AUDIT_ARCH_X86_64, 257, arguments, Identity(1234, 2345, (3457,), 0))


@root_only
def test_the_capabilities_of_an_identity_count(open_folder: Path) -> None:
    """Root without CAP_DAC_OVERRIDE is refused a file of mode 0, as the kernel would; another user with it is not."""
    closed = open_folder / "closed"
    closed.touch()
    os.chown(closed, 1234, 1234)
    os.chmod(closed, 0)
    arguments = (AT_FDCWD, bytes(closed), os.O_RDONLY, 0)
    with pytest.raises(PermissionError):
        native.call(AUDIT_ARCH_X86_64, 257, arguments, Identity(0, 0, (), 0))
    os.close(native.call(AUDIT_ARCH_X86_64, 257, arguments, Identity(4321, 4321, (), 1 << 1)))


@root_only
def test_an_identity_is_one_threads_alone() -> None:
    """Other threads keep theirs while one call runs as somebody else."""
    ends = os.pipe()
    thread = threading.Thread(target=lambda: native.call(AUDIT_ARCH_X86_64, 0, (ends[0], bytearray(1), 1), NOBODY))
    thread.start()
    try:
        assert thread.native_id is not None
        deadline = time.monotonic() + 10
        while native.status(thread.native_id).ids[3] != NOBODY.fsuid and time.monotonic() < deadline:
            time.sleep(0.001)
        assert native.status(thread.native_id).ids[3] == NOBODY.fsuid
        assert native.status(threading.get_native_id()).ids[3] == os.geteuid()
    finally:
        os.write(ends[1], b"x")
        thread.join()
        os.close(ends[0])
        os.close(ends[1])


def test_call_releases_the_interpreter() -> None:
    """Another thread runs while a call blocks: it ends the wait."""
    ends = os.pipe()
    timer = threading.Timer(0.05, lambda: os.write(ends[1], b"x"))
    timer.start()
    assert native.call(AUDIT_ARCH_X86_64, 0, (ends[0], bytearray(1), 1)) == 1
    timer.join()
    os.close(ends[0])
    os.close(ends[1])


def test_the_cookie_is_kept_over_fork() -> None:
    """The program that installs the filter and the broker agree on it without a word."""
    cookie = native.filter_cookie()
    assert cookie == native.filter_cookie()
    assert all(0 < half < 2**32 for half in cookie)
    child = os.fork()
    if child == 0:
        os._exit(native.filter_cookie() != cookie)
    assert os.waitpid(child, 0)[1] == 0


@both
def test_a_call_with_the_cookie_passes_the_filter(arch: int) -> None:
    """What a redirect re-runs is not trapped again; the same call without the cookie is."""
    low, high = native.filter_cookie()

    def change() -> list[int]:
        results = []
        for cookie in (low | high << 32, 0):
            try:
                native.call(arch, CHDIR[arch], (b"/drive/none", 0, 0, 0, 0, cookie))
            except OSError as error:
                results.append(error.errno or 0)
        return results

    with running(change) as session:
        trapped = session.next()
        assert (trapped.arch, trapped.number) == (arch, CHDIR[arch])
        session.answer(trapped, error=-errno.EXDEV)
        assert session.result() == [errno.ENOENT, errno.EXDEV]


def test_a_descriptor_is_added_and_the_call_answered(tmp_path: Path) -> None:
    """At the lowest number, or at exactly the one asked for; the program reads the file through it."""
    (tmp_path / "file").write_text("content")

    def read() -> list[tuple[int, bytes, bool]]:
        seen = []
        for _ in range(2):
            fd = os.open("/drive/file", os.O_RDONLY)
            seen.append((fd, os.read(fd, 100), os.get_inheritable(fd)))
        return seen

    with running(read) as session:
        for number, cloexec in ((None, True), (900, False)):
            trapped = session.next()
            assert native.id_valid(session.listener, trapped.cookie)
            file = os.open(tmp_path / "file", os.O_RDONLY)
            added = native.add_fd(session.listener, trapped.cookie, file, number, cloexec)
            os.close(file)
            session.answer(trapped, added)
            assert not native.id_valid(session.listener, trapped.cookie)
        (_, first, inherited), (at, second, passed_on) = session.result()
    assert (first, inherited) == (b"content", False)
    assert (at, second, passed_on) == (900, b"content", True)


def test_answering_a_call_that_is_gone_is_enoent() -> None:
    """The program was killed while its call waited."""
    with running(lambda: os.stat("/drive/x")) as session:
        trapped = session.next()
        os.kill(session.program, signal.SIGKILL)
        session.finish()
        with pytest.raises(FileNotFoundError):
            session.answer(trapped)
        with pytest.raises(FileNotFoundError):
            native.add_fd(session.listener, trapped.cookie, 0, None, True)
