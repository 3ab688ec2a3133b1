"""Leases: who has a file open for writing, open at all, or locked, in this process or another."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from remotes.conftest import NOBODY, ROOT

from broker.mirror import leases

_CAP_LEASE = 28
_PR_CAPBSET_DROP = 24


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def file(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY)
    yield file
    os.close(file)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND])
def test_a_writing_descriptor_is_a_writer(path: Path, file: int, flags: int) -> None:
    """Until its last copy is closed."""
    assert not leases.has_writer(file)
    writer = os.open(path, flags)
    copy = os.dup(writer)
    os.close(writer)
    assert leases.has_writer(file)
    os.close(copy)
    assert not leases.has_writer(file)


def test_readers_are_no_writers_but_openers(path: Path, file: int) -> None:
    """A reader keeps the file open; so does nobody when it is closed."""
    assert not leases.is_open(file)
    reader = os.open(path, os.O_RDONLY)
    assert not leases.has_writer(file)
    assert leases.is_open(file)
    os.close(reader)
    assert not leases.is_open(file)


def test_a_shared_mapping_is_a_writer(path: Path, file: int) -> None:
    """A mapping outlives its descriptor, and can still be stored to."""
    writer = os.open(path, os.O_RDWR)
    mapping = mmap.mmap(writer, 7)
    os.close(writer)
    assert leases.has_writer(file)
    mapping.close()
    assert not leases.has_writer(file)


def test_locks_of_every_kind(path: Path, file: int) -> None:
    """A POSIX lock of another process, an OFD lock and a flock(2) are seen, and gone with their holders."""
    assert not leases.is_locked(file)
    holder = os.open(path, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_SH)
    assert leases.is_locked(file)
    fcntl.flock(holder, fcntl.LOCK_UN)
    fcntl.fcntl(holder, fcntl.F_OFD_SETLK, leases._FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 100, 1, 0))
    assert leases.is_locked(file)
    os.close(holder)
    assert not leases.is_locked(file)
    script = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert leases.is_locked(file)
        process.communicate(b"\n")
    assert not leases.is_locked(file)


def test_asking_leaves_no_lease(path: Path, file: int) -> None:
    """An open just after the question does not wait, and nothing was changed in the file."""
    before = os.stat(path)
    leases.has_writer(file)
    leases.is_open(file)
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    after = os.stat(path)
    assert (before.st_ctime_ns, before.st_mtime_ns) == (after.st_ctime_ns, after.st_mtime_ns)


def test_an_open_during_the_question_does_not_end_the_process(path: Path) -> None:
    """The signal of a broken lease is one that is ignored, where nobody has blocked it."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import fcntl, os, time\n"
        "from broker.mirror import leases\n"
        "real = fcntl.fcntl\n"
        "def slowly(file, command, *rest):\n"
        "    result = real(file, command, *rest)\n"
        "    if command == fcntl.F_SETLEASE and rest == (fcntl.F_RDLCK,):\n"
        "        print('leased', flush=True); sys.stdin.readline()\n"
        "    return result\n"
        "fcntl.fcntl = slowly\n"
        "leases.has_writer(os.open(sys.argv[1], os.O_RDONLY))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"leased\n"
        with pytest.raises(BlockingIOError):
            os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        process.communicate(b"\n")
    assert process.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_without_cap_lease_asks_as_the_owner(path: Path) -> None:
    """In a container root may lack CAP_LEASE: files of others are asked about nevertheless, and root stays root."""
    os.chown(path, NOBODY, NOBODY)
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import os; from broker.mirror import leases\n"
        "file = os.open(sys.argv[1], os.O_RDONLY)\n"
        "print(leases.has_writer(file))\n"
        "writer = os.open(sys.argv[1], os.O_WRONLY)\n"
        "print(leases.has_writer(file))\n"
        "print(os.open('/etc/shadow', os.O_RDONLY) > 0)\n"
    )
    drop = ctypes.CDLL(None).prctl
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        preexec_fn=lambda: drop(_PR_CAPBSET_DROP, _CAP_LEASE, 0, 0, 0),
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.split() == ["False", "True", "True"]


def test_of_a_fifo_there_are_none(tmp_path: Path) -> None:
    """Nobody writes content to what is no regular file, however it is open."""
    os.mkfifo(tmp_path / "fifo")
    file = os.open(tmp_path / "fifo", os.O_RDWR)
    assert not leases.has_writer(file)
    os.close(file)
