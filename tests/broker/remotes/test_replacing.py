"""Writes to a real folder: as a whole, at the version they are based on, and leaving nothing behind."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.remotes import copying, protocol, replacing
from broker.remotes.file import FileRemote
from broker.remotes.protocol import Step
from broker.remotes.registry import open_file
from broker.settings import RemoteSettings

from .helpers import NOTHING, content_of, names_in, put, replaced, source

LONG_AGO = 1_000_000_000 * 10**9


async def test_a_cancelled_write_keeps_its_source(
    file_remote: FileRemote, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that nobody waits for any more never copies from a descriptor number that was given to another file."""
    started, released = threading.Event(), threading.Event()
    copy = copying.copy

    def slow(file: int, destination: int, step: Step) -> None:
        started.set()
        released.wait(30)
        copy(file, destination, step)

    monkeypatch.setattr(replacing, "copy", slow)
    with source(b"right") as file:
        writing = asyncio.ensure_future(file_remote.write(b"f", file, None, NOTHING))
        await asyncio.to_thread(started.wait, 30)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        with source(b"wrong") as other:
            os.dup2(other, file)
            released.set()
            await asyncio.to_thread(file_remote._pool.shutdown)
    assert (share / "f").read_bytes() == b"right"


@pytest.mark.parametrize("there", [True, False])
async def test_a_file_that_changes_during_a_write(
    file_remote: FileRemote, share: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Somebody else's change while the content is being copied is not overwritten, nor a file that appeared."""
    made = await put(file_remote, b"f", b"1") if there else None
    copy = copying.copy

    def disturbed(file: int, destination: int, step: Step) -> None:
        copy(file, destination, step)
        (share / "f").write_bytes(b"theirs")

    monkeypatch.setattr(replacing, "copy", disturbed)
    with pytest.raises(protocol.VersionChanged if there else protocol.AlreadyExists):
        await (put(file_remote, b"f", b"ours") if made is None else replaced(file_remote, b"f", b"ours", made))
    assert (share / "f").read_bytes() == b"theirs"
    assert os.listdir(share) == ["f"]


@pytest.mark.parametrize("names", [1, 2])
async def test_two_brokers_replace_one_version(
    file_remote: FileRemote, share: Path, monkeypatch: pytest.MonkeyPatch, names: int
) -> None:
    """Of two that look at the same time whether the file is still what they know, one is told that it is not."""
    made = await put(file_remote, b"f", b"old")
    if names == 2:
        made = await file_remote.link(b"f", b"g")
    together, rename, truncate = threading.Barrier(2), os.rename, os.ftruncate

    def slow_rename(*names: bytes, **folders: int) -> None:
        time.sleep(0.05)
        rename(*names, **folders)

    def slow_truncate(file: int, size: int) -> None:
        time.sleep(0.05)
        truncate(file, size)

    check = replacing.Target.check

    def look(target: replacing.Target) -> os.stat_result | None:
        together.wait(10)
        monkeypatch.setattr(replacing.Target, "check", check)
        return check(target)

    other = open_file(RemoteSettings(share.as_uri()))
    monkeypatch.setattr(FileRemote, "_at_once", False)
    monkeypatch.setattr(os, "rename", slow_rename)
    monkeypatch.setattr(os, "ftruncate", slow_truncate)
    monkeypatch.setattr(replacing.Target, "check", look)
    writes = (replaced(remote, b"f", b"new", made) for remote in (file_remote, other))
    results = await asyncio.gather(*writes, return_exceptions=True)
    await other.close()
    assert sorted(type(result).__name__ for result in results) == ["Attributes", "VersionChanged"]


async def test_two_writes_in_one_folder_leave_its_times(
    file_remote: FileRemote, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither takes the other's temporary name for a change of somebody else; what is one keeps its time."""
    (share / "d").mkdir()
    files = {name: await put(file_remote, b"d/" + name, b"old") for name in (b"f", b"g")}
    together, copy, theirs = threading.Barrier(2), copying.copy, LONG_AGO // 2

    def slow(file: int, destination: int, step: Step) -> None:
        copy(file, destination, step)
        if together.wait(10) == 0 and disturbed:
            os.utime(share / "d", ns=(theirs, theirs))
        together.wait(10)

    monkeypatch.setattr(FileRemote, "_at_once", False)
    monkeypatch.setattr(replacing, "copy", slow)
    for disturbed in (False, True):
        os.utime(share / "d", ns=(LONG_AGO, LONG_AGO))
        writes = (replaced(file_remote, b"d/" + name, b"new", made) for name, made in files.items())
        files = dict(zip(files, await asyncio.gather(*writes), strict=True))
        assert os.stat(share / "d").st_mtime_ns == (theirs if disturbed else LONG_AGO)


async def test_a_lock_of_somebody_else_holds_up_no_write(file_remote: FileRemote, share: Path) -> None:
    """A program on the server that keeps a flock(2) on a file does not keep it from being replaced."""
    made = await put(file_remote, b"f", b"old")
    with (share / "f").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        await replaced(file_remote, b"f", b"new", made)
    assert (share / "f").read_bytes() == b"new"


async def test_no_lock_is_waited_for_on_the_loop(
    file_remote: FileRemote, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is anything done twice that shows: what is written at once is left to a thread where it has to wait."""
    made = await put(file_remote, b"f", b"old")
    waiting: list[threading.Thread] = []
    monkeypatch.setattr(time, "sleep", lambda _: waiting.append(threading.current_thread()))
    with (share / "f").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        await replaced(file_remote, b"f", b"new", made)
    assert waiting and threading.main_thread() not in waiting
    assert ((share / "f").read_bytes(), os.listdir(share)) == (b"new", ["f"])


async def test_a_long_overwriting_holds_up_no_other_write(
    file_remote: FileRemote, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with two names is written in place, and others are made and replaced meanwhile."""
    await put(file_remote, b"f", b"old")
    made, small = await file_remote.link(b"f", b"g"), await put(file_remote, b"small", b"1")
    started, released = threading.Event(), threading.Event()
    copy = copying.copy

    def slow(file: int, destination: int, step: Step) -> None:
        if os.fstat(file).st_size > 1 << 20:
            started.set()
            assert released.wait(10)
        copy(file, destination, step)

    monkeypatch.setattr(replacing, "copy", slow)
    long = asyncio.ensure_future(replaced(file_remote, b"f", bytes(2 << 20), made))
    await asyncio.to_thread(started.wait, 10)
    await put(file_remote, b"new", b"2")
    await replaced(file_remote, b"small", b"3", small)
    released.set()
    await long
    assert {path.name: path.stat().st_size for path in share.iterdir()} == {
        "f": 2 << 20,
        "g": 2 << 20,
        "new": 1,
        "small": 1,
    }


async def test_a_write_that_fails_leaves_nothing(
    file_remote: FileRemote, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is NoSpace; the old content stays, and nothing half-written beside it."""
    made = await put(file_remote, b"f", b"old")

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(replacing, "copy", full)
    with pytest.raises(protocol.NoSpace):
        await replaced(file_remote, b"f", b"new", made)
    assert (await file_remote.stat(b"f")).version == made.version
    assert os.listdir(share) == ["f"]


async def test_readers_keep_the_content_they_opened(file_remote: FileRemote, share: Path) -> None:
    """A file is replaced as a whole: who has it open goes on with the old one."""
    made = await put(file_remote, b"f", b"old")
    with (share / "f").open("rb") as reader:
        await replaced(file_remote, b"f", b"new", made)
        assert reader.read() == b"old"


@pytest.mark.parametrize(("durable", "syncs"), [(True, ["file", "folder"]), (False, [])])
async def test_durable_writes_are_synced(
    file_remote: FileRemote, monkeypatch: pytest.MonkeyPatch, durable: bool, syncs: list[str]
) -> None:
    """A durable write syncs the file and its folder before it returns, another one neither."""
    done = []

    def record(file: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "file")

    monkeypatch.setattr(os, "fsync", record)
    with source(b"1") as file:
        await file_remote.write(b"f", file, None, NOTHING, durable=durable)
    assert done == syncs


@pytest.mark.parametrize("names", [1, 2])
async def test_a_write_shows_its_progress(file_remote: FileRemote, share: Path, names: int) -> None:
    """The steps add up to the content, replaced as a whole or written in place, and are several in a long write."""
    made = await put(file_remote, b"f", b"old")
    for number in range(1, names):
        made = await file_remote.link(b"f", b"f%d" % number)
    content = os.urandom(1 << 20) * 33
    steps: list[int] = []
    with source(content) as file:
        await file_remote.write(b"f", file, made.version, NOTHING, step=steps.append)
    assert sum(steps) == len(content) and len(steps) > 2
    assert (share / "f").read_bytes() == content


UNFINISHED = ".seccomp-drive-0123456789abcdef"


async def test_unfinished_writes_are_nobodys(file_remote: FileRemote, share: Path) -> None:
    """The file of a write on its way is not listed, found, or made; names that only look like it are like others."""
    (share / UNFINISHED).write_bytes(b"half")
    (share / ".seccomp-drive-notes").write_bytes(b"mine")
    name = UNFINISHED.encode()
    assert await names_in(file_remote, b"") == [b".seccomp-drive-notes"]
    assert await content_of(file_remote, b".seccomp-drive-notes") == b"mine"
    with pytest.raises(protocol.NotFound):
        await file_remote.stat(name)
    for attempt in (
        put(file_remote, name),
        file_remote.mkdir(name, NOTHING),
        file_remote.remove(name),
        file_remote.rename(b".seccomp-drive-notes", name),
    ):
        with pytest.raises(protocol.Forbidden):
            await attempt
    assert (share / UNFINISHED).read_bytes() == b"half"


async def test_what_a_crash_left_is_removed(
    file_remote: FileRemote, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing removes what was left for long, and only regular files; a fresh one belongs to a living session."""
    (share / UNFINISHED).write_bytes(b"half")
    (share / UNFINISHED.replace("0", "f")).mkdir()
    os.utime(share / UNFINISHED, (0, 0))
    await names_in(file_remote, b"")
    assert UNFINISHED in os.listdir(share)
    monkeypatch.setattr("broker.remotes.listing._STALE", -3600)
    await names_in(file_remote, b"")
    assert os.listdir(share) == [UNFINISHED.replace("0", "f")]


async def test_a_folder_that_looks_empty_is_empty(file_remote: FileRemote, share: Path) -> None:
    """What a crash left does not keep a folder from being removed or replaced; what is seen in it does."""
    for name in ("removed", "replaced", "kept"):
        (share / name).mkdir()
        (share / name / UNFINISHED).write_bytes(b"half")
    (share / "kept" / "f").write_bytes(b"1")
    (share / "new").mkdir()
    await file_remote.rmdir(b"removed")
    await file_remote.rename(b"new", b"replaced")
    with pytest.raises(protocol.NotEmpty):
        await file_remote.rmdir(b"kept")
    assert sorted(os.listdir(share)) == ["kept", "replaced"]
    assert sorted(os.listdir(share / "kept")) == [UNFINISHED, "f"]
    assert os.listdir(share / "replaced") == []


WRITE_AS = """
import asyncio, os, sys
from broker.remotes.protocol import Changes
from broker.remotes.registry import open_file
from broker.settings import RemoteSettings

async def main():
    remote = open_file(RemoteSettings("file://" + sys.argv[1]))
    source = os.memfd_create("source")
    os.write(source, b"new")
    old = await remote.stat(b"d/f")
    new = await remote.write(b"d/f", source, old.version, Changes(mode=0o666, mtime_ns=1))
    assert new.version == (await remote.stat(b"d/f")).version
    print(remote.capabilities.owners)
    await remote.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("folder_mode", [0o777, 0o755])
def test_a_file_of_another_user_keeps_its_owner(
    public: Path, as_nobody: Callable[..., str], folder_mode: int
) -> None:
    """Who may write a file of somebody else writes into it, also where its folder takes no new files: a new file
    would be the writer's own."""
    (public / "d").mkdir()
    (public / "d" / "f").write_bytes(b"old content")
    os.chmod(public / "d" / "f", 0o666)
    os.chmod(public / "d", folder_mode)
    before = (public / "d" / "f").stat()
    assert as_nobody(WRITE_AS, public) == "False"
    after = (public / "d" / "f").stat()
    assert (public / "d" / "f").read_bytes() == b"new"
    assert (after.st_uid, after.st_ino) == (before.st_uid, before.st_ino)
    assert os.listdir(public / "d") == ["f"]
