"""The file: remote: all that every remote does, and what only a real folder can be asked."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.remotes import protocol, renaming
from broker.remotes.file import FileRemote
from broker.remotes.listing import Listing
from broker.remotes.protocol import Changes, Remote
from broker.remotes.registry import open_file
from broker.remotes.tree import Tree
from broker.settings import RemoteSettings

from .conformance import Conformance
from .faults import Faulty
from .helpers import names_in, put, replaced
from .plans import Plan


class TestFile(Conformance):
    @pytest.fixture
    def remote(self, file_remote: FileRemote) -> Remote:
        return file_remote


class TestFaultyFile(Conformance):
    @pytest.fixture
    def remote(self, file_remote: FileRemote) -> Remote:
        return Faulty(file_remote, Plan())


class TestWithoutRenameat2(Conformance):
    """As on NFS, which has no flags for rename."""

    @pytest.fixture
    def remote(self, file_remote: FileRemote, monkeypatch: pytest.MonkeyPatch) -> Remote:
        def refuse(*_: object) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr(renaming, "_renameat2", refuse)
        return file_remote


@dataclass
class Hanging:
    """`begun` has a token for each call that hangs; all go on when `released` is set."""

    begun: threading.Semaphore
    released: threading.Event

    async def wait(self, count: int) -> None:
        for _ in range(count):
            assert await asyncio.to_thread(self.begun.acquire, timeout=30)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    """Reads and listings hang until they are released, as on a share whose server is gone."""
    hanging = Hanging(threading.Semaphore(0), threading.Event())

    def hung(work: Callable[..., object]) -> Callable[..., object]:
        def hang(*arguments: object) -> object:
            hanging.begun.release()
            hanging.released.wait(30)
            return work(*arguments)

        return hang

    monkeypatch.setattr(FileRemote, "_at_once", False)
    monkeypatch.setattr(Tree, "read", hung(Tree.read))
    monkeypatch.setattr(Listing, "page", hung(Listing.page))
    yield hanging
    hanging.released.set()


async def test_what_hangs_holds_nothing_else_up(file_remote: FileRemote, hanging: Hanging) -> None:
    """While a read and a listing hang, other operations go on; afterwards these two end well."""
    made = await put(file_remote, b"f", b"1")
    reading = asyncio.ensure_future(file_remote.read(b"f", made.version, 0, 10))
    listing = asyncio.ensure_future(names_in(file_remote, b""))
    await hanging.wait(2)
    assert (await file_remote.stat(b"f")).version == made.version
    assert not reading.done() and not listing.done()
    hanging.released.set()
    assert (await reading, await listing) == (b"1", [b"f"])


async def test_close_does_not_wait_for_what_hangs(file_remote: FileRemote, hanging: Hanging) -> None:
    """close returns at once; what comes later, or has not begun, is Unavailable, and what has begun ends."""
    made = await put(file_remote, b"f", b"1")
    reading = [asyncio.ensure_future(file_remote.read(b"f", made.version, 0, 10)) for _ in range(8)]
    await hanging.wait(8)
    queued = asyncio.ensure_future(file_remote.space())
    await asyncio.sleep(0)
    await file_remote.close()
    await file_remote.close()
    for late in (queued, file_remote.stat(b"f")):
        with pytest.raises(protocol.Unavailable):
            await late
    hanging.released.set()
    assert await asyncio.gather(*reading) == [b"1"] * 8


async def test_a_listing_that_is_given_up_hangs_nothing(file_remote: FileRemote, hanging: Hanging) -> None:
    """A cancelled listing closes its folder after the page on its way, not under it."""
    before = len(os.listdir("/proc/self/fd"))
    listing = asyncio.ensure_future(names_in(file_remote, b""))
    await hanging.wait(1)
    listing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listing
    hanging.released.set()
    await asyncio.to_thread(file_remote._pool.shutdown)
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_nothing_outside_is_reached(file_remote: FileRemote, share: Path, tmp_path: Path) -> None:
    """Symlinks to the outside, which a program on the share may have put there, lead no operation out of it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    secret = outside / "secret"
    secret.write_bytes(b"secret")
    before = secret.stat()
    (share / "file").symlink_to(secret)
    (share / "folder").symlink_to(outside)
    await put(file_remote, b"own", b"1")
    link = await file_remote.set_attributes(b"file", Changes(uid=os.geteuid(), mtime_ns=1_000_000_000))
    for attempt in (
        file_remote.set_attributes(b"file", Changes(mode=0o777)),
        file_remote.set_xattr(b"file", b"user.a", b"1"),
        file_remote.read(b"file", link.version, 0, 10),
        replaced(file_remote, b"file", b"overwritten", link),
        put(file_remote, b"folder/new"),
        file_remote.link(b"own", b"folder/new"),
        file_remote.rename(b"own", b"folder/new"),
        file_remote.rename(b"folder/secret", b"stolen"),
        file_remote.exchange(b"own", b"folder/secret"),
        file_remote.remove(b"folder/secret"),
    ):
        with pytest.raises(protocol.RemoteError):
            await attempt
    assert await file_remote.get_xattrs(b"file") == {}
    assert (secret.read_bytes(), os.listdir(outside)) == (b"secret", ["secret"])
    after = secret.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_mode,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


async def test_devices_are_not_opened(file_remote: FileRemote, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To open a device may already do something, so it is looked at first."""
    try:
        os.mknod(share / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except OSError:
        pytest.skip("no device nodes here")
    found = await file_remote.stat(b"null")
    assert found.rdev == os.makedev(1, 3)

    def refuse(*_: object, **__: object) -> int:
        raise AssertionError("opened")

    with monkeypatch.context() as patched, pytest.raises(protocol.Unsupported):
        patched.setattr(os, "open", refuse)
        await file_remote.read(b"null", found.version, 0, 10)


async def test_a_file_that_changes_during_a_read(
    file_remote: FileRemote, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that may be of two versions are not handed out."""
    made = await put(file_remote, b"f", b"1" * 100)
    pread = os.pread

    def disturbed(*arguments: int) -> bytes:
        data = pread(*arguments)
        (share / "f").write_bytes(b"22")
        return data

    with monkeypatch.context() as patched, pytest.raises(protocol.VersionChanged):
        patched.setattr(os, "pread", disturbed)
        await file_remote.read(b"f", made.version, 0, 10)


async def test_modes_are_not_masked(file_remote: FileRemote) -> None:
    """The umask of the broker has no say in what a program wanted."""
    old = os.umask(0o777)
    try:
        wanted = Changes(mode=0o666)
        made = [
            await put(file_remote, b"f", b"", wanted),
            await file_remote.mkdir(b"d", wanted),
            await file_remote.mknod(b"p", stat.S_IFIFO, 0, wanted),
        ]
    finally:
        os.umask(old)
    assert [stat.S_IMODE(node.mode) for node in made] == [0o666] * 3


def test_capabilities_are_those_of_the_file_system(file_remote: FileRemote, share: Path) -> None:
    """What is declared is what the folder can do."""
    declared = file_remote.capabilities
    try:
        os.setxattr(share, "user.test", b"1")
        xattrs = True
    except OSError:
        xattrs = False
    assert declared.extended_attributes == xattrs
    assert declared.owners == (os.geteuid() == 0)
    assert declared.modes and declared.symlinks and declared.hard_links and declared.special_files


async def test_a_hidden_folder_is_nowhere(share: Path, tmp_path: Path) -> None:
    """The mirrors of a cache in the remote itself, or a database, are neither listed nor found nor made nor removed;
    what is beside them, or is called nearly the same, is. The folder may be there only later, and a symlink may lead
    to it."""
    (tmp_path / "way").symlink_to(share)
    hidden = tmp_path / "way" / "cache" / "mirrors"
    remote = open_file(RemoteSettings(share.as_uri(), hidden=(str(hidden), str(share / "db"))))
    (share / "cache" / "mirrors" / "inside").mkdir(parents=True)
    (share / "cache" / "mirrors2").mkdir()
    (share / "mirrors").mkdir()
    (share / "db").touch()
    assert await names_in(remote, b"cache") == [b"mirrors2"]
    assert await names_in(remote, b"") == [b"cache", b"mirrors"]
    for path in (b"cache/mirrors", b"cache/mirrors/inside", b"db"):
        with pytest.raises(protocol.NotFound):
            await remote.stat(path)
        with pytest.raises(protocol.NotFound):
            await names_in(remote, path)
        for change in (remote.rmdir(path), remote.mkdir(path, Changes()), remote.rename(b"mirrors", path)):
            with pytest.raises(protocol.Forbidden):
                await change
    await remote.close()


async def test_a_folder_that_was_removed(file_remote: FileRemote, share: Path) -> None:
    """It is no empty folder: whatever is asked cannot be said. What is made in its place later is served again."""
    attributes = await put(file_remote, b"f", b"1")
    shutil.rmtree(share)
    for asked in (
        lambda: file_remote.stat(b"f"),
        lambda: file_remote.stat(b""),
        lambda: names_in(file_remote, b""),
        lambda: file_remote.read(b"f", attributes.version, 0, 1),
        lambda: file_remote.authorize(b"f"),
        lambda: file_remote.remove(b"f"),
        lambda: file_remote.mkdir(b"d", Changes()),
        lambda: put(file_remote, b"new", b""),
        lambda: file_remote.rename(b"f", b"g"),
        lambda: file_remote.space(),
    ):
        with pytest.raises(protocol.Unavailable, match="was removed"):
            await asked()
    share.mkdir()
    assert await names_in(file_remote, b"") == []
    await put(file_remote, b"new", b"2")
    assert (share / "new").read_bytes() == b"2"
