"""The lane's own answers: an open of a file to read whose content the broker vouches for, while the remote has it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from vouched import Setting, setting_of

from broker.kernel import native
from broker.remotes.nodes import version_of

OPENAT, OPENAT2, SETFSUID = 257, 437, 122
O_TMPFILE = 0o20000000 | os.O_DIRECTORY


def opened(path: str, flags: int, **folder: int) -> tuple[Any, ...]:
    """What a program can tell of what it has opened; its number too."""
    file = os.open(path, flags, **folder)
    try:
        cloexec = fcntl.fcntl(file, fcntl.F_GETFD)
        return file, fcntl.fcntl(file, fcntl.F_GETFL), cloexec, os.fstat(file).st_ino, os.read(file, 100)
    finally:
        os.close(file)


def at_the_limit(path: str) -> Any:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (os.open("/", os.O_PATH) + 1, 1024))
    return os.open(path, os.O_RDONLY)


def openat2(path: bytes) -> int:
    return native.call(native.AUDIT_ARCH_X86_64, OPENAT2, (-100, path, bytes(24), 24))


def raw(path: bytes, flags: int) -> int:
    return native.call(native.AUDIT_ARCH_X86_64, OPENAT, (-100, path, flags))


def set_fs_uid(uid: int) -> None:
    native.call(native.AUDIT_ARCH_X86_64, SETFSUID, (uid,))


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    more = {"opened": opened, "openat2": openat2, "raw": raw, "set_fs_uid": set_fs_uid, "at_the_limit": at_the_limit}
    with setting_of(tmp_path, more) as made:
        yield made


def handed_over(setting: Setting, flags: int = os.O_RDONLY, path: str = "/drive/d/file") -> bool:
    return setting.handed_over("opened", path, flags)


@pytest.mark.parametrize("flags", [0, os.O_CLOEXEC, os.O_NONBLOCK, os.O_NOFOLLOW, os.O_NOCTTY, 0o100000])
def test_the_descriptor_is_as_the_kernel_would_make_it(setting: Setting, flags: int) -> None:
    """With the lowest free number, and the flags that fcntl(2) tells of."""
    setting.complete("d/file")
    answer = setting.answered("opened", "/drive/d/file", flags)
    assert answer == setting.probe.ask("opened", str(setting.tree / "d/file"), flags)[0]
    assert answer[-1] == b"12345"


def test_every_spelling_of_an_ordinary_path(setting: Setting) -> None:
    """As for stat(2): a descriptor of a folder in the mirror, and a working directory there."""
    setting.complete("d/file")
    setting.answered("opened", "//drive/./d//file", 0)
    descriptor = setting.probe.ask("open", setting.tree, os.O_PATH)[0]
    setting.answered("opened", "d/file", 0, dir_fd=descriptor)
    setting.probe.ask("chdir", setting.tree / "d")
    setting.probe.lane.forget_links()
    setting.answered("opened", "file", 0)
    (setting.tree / "folder").symlink_to("d")
    for other in ("/drive/d/file/", "/drive/d/../d/file", "/drive/d/file/.", "/drive/link", "/drive/folder/file"):
        assert handed_over(setting, path=other), other


@pytest.mark.parametrize(
    "flags",
    [
        os.O_WRONLY,
        os.O_RDWR,
        os.O_CREAT,
        os.O_TRUNC,
        os.O_PATH,
        os.O_DIRECTORY,
        os.O_DIRECT,
        os.O_NOATIME,
        O_TMPFILE | os.O_RDWR,
    ],
)
def test_other_opens_are_the_brokers(setting: Setting, flags: int) -> None:
    """Whatever writes, makes or means something else than to read a file."""
    setting.complete("d/file")
    assert setting.handed_over("raw", b"/drive/d/file", flags)


def test_openat2_is_the_brokers(setting: Setting) -> None:
    """Its flags are in memory, and ask for more."""
    setting.complete("d/file")
    assert setting.handed_over("openat2", b"/drive/d/file")


def test_only_what_is_vouched_for_is_opened(setting: Setting) -> None:
    """Neither a node of which nothing is known, nor one whose time is over, or that was taken back in any way."""
    assert handed_over(setting)
    setting.vouch("d", "d/file")
    assert handed_over(setting), "a stat may be answered before the content is there"
    setting.complete("d/file", until=-1)
    assert handed_over(setting)
    ino = (setting.tree / "d/file").stat().st_ino

    def another_session() -> None:
        setting.shared[9] = 1

    setting.complete("d/file")
    setting.drive.node(ino, None, None, 0o4000, False)
    setting.drive.complete(ino, version_of((setting.remote / "d" / "file").stat()), time.monotonic() + 60)
    assert handed_over(setting), "the broker gives it a number in the range"

    takes: list[Callable[[], None]] = [
        lambda: setting.drive.node(ino, None, None, 0, True),
        lambda: setting.drive.forget_node(ino),
        setting.drive.forget_nodes,
        another_session,
    ]
    for take in takes:
        setting.complete("d/file")
        assert not handed_over(setting)
        take()
        assert handed_over(setting)


def test_a_remote_that_has_changed_is_asked(setting: Setting) -> None:
    """In its content, its attributes alone, by another file, by none, or by a symlink on the way."""
    theirs = setting.remote / "d" / "file"

    def replaced() -> None:
        (setting.remote / "new").write_bytes(b"12345")
        os.utime(setting.remote / "new", ns=(theirs.stat().st_atime_ns, theirs.stat().st_mtime_ns))
        (setting.remote / "new").rename(theirs)

    def moved() -> None:
        (setting.remote / "d").rename(setting.remote / "e")
        (setting.remote / "d").symlink_to("e")

    changes: list[Callable[[], object]] = [
        lambda: theirs.write_bytes(b"54321"),
        lambda: theirs.chmod(0o640),
        replaced,
        theirs.unlink,
        moved,
    ]
    for change in changes:
        theirs.touch()
        setting.complete("d/file")
        assert not handed_over(setting)
        change()
        assert handed_over(setting)


def test_what_is_neither_here_nor_there(setting: Setting) -> None:
    """ENOENT, unless only one of the two lacks it, or the folder of the remote was removed."""
    for path in ("/drive/d/none", "/drive/none/none"):
        assert setting.answered("opened", path, 0) == -errno.ENOENT
        assert setting.handed_over("opened", path, os.O_CREAT | os.O_RDWR)
    (setting.remote / "d" / "theirs").touch()
    assert handed_over(setting, path="/drive/d/theirs")
    (setting.tree / "d" / "ours").touch()
    assert handed_over(setting, path="/drive/d/ours")
    (setting.tree / "d" / "ours").unlink()
    setting.answered("opened", "/drive/d/ours", 0)
    shutil.rmtree(setting.remote)
    assert handed_over(setting, path="/drive/d/ours")


def test_what_was_not_there(tmp_path: Path) -> None:
    """The same where the witness is memory."""
    memory = bytearray(100)
    with setting_of(tmp_path, {"opened": opened}, memory=memoryview(memory)) as setting:
        assert handed_over(setting, path="/drive/d/none")
        setting.drive.witnessed(b"d/none", 0, None, bytes(memory))
        assert setting.answered("opened", "/drive/d/none", 0) == -errno.ENOENT
        memory[50] = 1
        assert handed_over(setting, path="/drive/d/none")


def test_no_name_counts_for_another(tmp_path: Path) -> None:
    """Not either of two that differ in bits which a round of multiplying and shifting makes up for, in any state."""
    memory = bytearray(100)
    name = b"0123456789abcdef-report"
    twin = bytearray(name)
    for place, bit in ((7, 0x80), (12, 0x04), (15, 0x80)):
        twin[place] ^= bit
    with setting_of(tmp_path, {"raw": raw}, memory=memoryview(memory)) as setting:
        setting.drive.witnessed(bytes(twin), 0, None, bytes(memory))
        assert setting.answered("raw", b"/drive/" + bytes(twin), 0) == -errno.ENOENT
        assert setting.handed_over("raw", b"/drive/" + name, 0)


def test_a_state_of_the_remote(tmp_path: Path) -> None:
    """Where the witness is memory: of each path on its own, with the node that was there, until anything changes."""
    memory = bytearray(100)
    with setting_of(tmp_path, {"opened": opened}, memory=memoryview(memory)) as setting:
        (setting.tree / "other").hardlink_to(setting.tree / "d" / "file")
        setting.complete("d/file")
        ino = (setting.tree / "d/file").stat().st_ino
        assert handed_over(setting)
        version = version_of((setting.remote / "d" / "file").stat())
        for wrong in ((ino + 1, version), (ino, version + "0"), (ino, None)):
            setting.drive.witnessed(b"d/file", *wrong, bytes(memory))
            assert handed_over(setting)
        setting.drive.witnessed(b"d/file", ino, version, bytes(memory))
        assert not handed_over(setting)
        assert handed_over(setting, path="/drive/other")
        for place in (0, 99):
            memory[place] += 1
            assert handed_over(setting)
            memory[place] -= 1
        assert not handed_over(setting)
        setting.drive.forget_node(ino)
        assert handed_over(setting), "the content may be gone"


@pytest.mark.parametrize("moment", [0, -1, -1_500_000_000, 10**18 + 1, 9 * 10**18])
def test_versions_of_any_time(setting: Setting, moment: int) -> None:
    """The lane writes versions as `version_of` does, also before 1970."""
    os.utime(setting.remote / "d" / "file", ns=(moment, moment))
    setting.complete("d/file")
    assert not handed_over(setting)


@pytest.mark.parametrize("beyond", [10**19, -(10**19)])
def test_times_beyond_64_bits(beyond: int) -> None:
    """Those are the broker's, and nothing else's version. A tmpfs has such times."""
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as folder,
        setting_of(Path(folder), {"opened": opened}) as setting,
    ):
        os.utime(setting.remote / "d" / "file", ns=(beyond, beyond))
        assert (setting.remote / "d" / "file").stat().st_mtime_ns == beyond
        setting.complete("d/file")
        assert handed_over(setting)


def test_what_is_being_emptied_is_not_waited_for(setting: Setting) -> None:
    """Whoever does that has a lease (fcntl(2)), which an open would have to wait for."""
    setting.complete("d/file")
    with (setting.tree / "d" / "file").open("rb") as file:
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        assert handed_over(setting)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    assert not handed_over(setting)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.mknod(path, stat.S_IFSOCK)])
def test_only_regular_files(setting: Setting, make: Callable[[Path], None]) -> None:
    """To open a FIFO would already do something."""
    for place in (setting.tree, setting.remote):
        make(place / "other")
    setting.complete("other")
    assert setting.handed_over("raw", b"/drive/other", os.O_NONBLOCK)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other identities to take")
def test_a_caller_who_acts_as_somebody_else(setting: Setting) -> None:
    """Opened as the one whom it acts as; what that one may not read, the broker is asked for."""
    setting.complete("d/file")
    setting.vouch("d", "d/none")
    setting.drive.name(b"d/file", time.monotonic() + 60)
    for mode in (0o644, 0o640, 0o600):
        (setting.tree / "d" / "file").chmod(mode)
        for uid in (0, 1000, 0):
            setting.probe.ask("set_fs_uid", uid)
            assert handed_over(setting) is (uid != 0 and mode == 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other identities to take")
def test_the_way_is_fresh_for_others(setting: Setting) -> None:
    """What they may not search the mirror may lack yet, or have with an older mode; the remote is asked as root."""
    setting.complete("d/file")
    setting.probe.ask("set_fs_uid", 1000)
    assert handed_over(setting)
    assert handed_over(setting, path="/drive/d/none")
    setting.vouch("d", "d/none")
    setting.drive.name(b"d/file", time.monotonic() + 60)
    assert not handed_over(setting)
    assert not handed_over(setting, path="/drive/d/none")


def test_no_number_is_free(setting: Setting) -> None:
    """The error is the broker's to give."""
    setting.complete("d/file")
    assert setting.handed_over("at_the_limit", "/drive/d/file")
