"""What every remote and every decorator must do, as one suite.

A test class inherits `Conformance` and has a fixture `remote` that makes an empty remote. What a remote says that it
cannot do is left out.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from broker.remotes import protocol
from broker.remotes.protocol import Attributes, Changes, Path, Remote

NOTHING = Changes()
LATER = 1_600_000_000_123_456_789


@contextmanager
def source(content: bytes) -> Iterator[int]:
    """A descriptor with that content, its position in the middle, where no remote should look."""
    file = os.memfd_create("source")
    try:
        os.write(file, content)
        os.lseek(file, len(content) // 2, os.SEEK_SET)
        yield file
    finally:
        os.close(file)


async def put(remote: Remote, path: Path, content: bytes = b"", changes: Changes = NOTHING) -> Attributes:
    """A new file."""
    with source(content) as file:
        return await remote.write(path, file, None, changes)


async def replaced(
    remote: Remote, path: Path, content: bytes, base: Attributes, changes: Changes = NOTHING
) -> Attributes:
    with source(content) as file:
        return await remote.write(path, file, base.version, changes)


async def content_of(remote: Remote, path: Path) -> bytes:
    attributes = await remote.stat(path)
    found = b""
    while data := await remote.read(path, attributes.version, len(found), 1 << 20):
        found += data
    return found


async def names_in(remote: Remote, path: Path) -> list[bytes]:
    return sorted([entry.name async for page in remote.list(path) for entry in page])


def needs(remote: Remote, capability: str) -> None:
    if not getattr(remote.capabilities, capability):
        pytest.skip(f"this remote has no {capability}")


class Conformance:
    async def test_a_new_file_is_found(self, remote: Remote) -> None:
        """write with no base makes a file that stat, list and read agree about."""
        written = await put(remote, b"f", b"hello", Changes(mode=0o640, mtime_ns=LATER))
        assert written.is_regular
        assert (written.size, stat.S_IMODE(written.mode)) == (5, 0o640)
        assert abs(written.mtime_ns - LATER) < remote.capabilities.time_resolution_ns
        found = await remote.stat(b"f")
        assert (found.version, found.size, found.mode) == (written.version, 5, written.mode)
        entries = [entry async for page in remote.list(b"") for entry in page]
        assert [(entry.name, entry.attributes.version) for entry in entries] == [(b"f", written.version)]
        assert await content_of(remote, b"f") == b"hello"

    async def test_new_nodes_are_private_unless_told(self, remote: Remote) -> None:
        """What has no mode yet is nobody else's, whatever our umask."""
        file, folder = await put(remote, b"f"), await remote.mkdir(b"d", NOTHING)
        assert (stat.S_IMODE(file.mode), stat.S_IMODE(folder.mode)) == (0o600, 0o700)

    async def test_a_new_name_must_be_free(self, remote: Remote) -> None:
        """Whatever makes a node refuses a name that is taken, by a file or a folder."""
        await put(remote, b"f", b"old")
        await remote.mkdir(b"d", NOTHING)
        for path in (b"f", b"d"):
            with pytest.raises(protocol.AlreadyExists):
                await put(remote, path)
            with pytest.raises(protocol.AlreadyExists):
                await remote.mkdir(path, NOTHING)
            with pytest.raises(protocol.AlreadyExists):
                await remote.symlink(path, b"t", NOTHING)
        assert await content_of(remote, b"f") == b"old"

    async def test_the_way_must_exist(self, remote: Remote) -> None:
        """A missing folder on the way is NotFound, a file NotADirectory; the root itself stays."""
        await put(remote, b"f")
        for path, error in ((b"no/x", protocol.NotFound), (b"f/x", protocol.NotADirectory)):
            for attempt in (
                put(remote, path),
                remote.stat(path),
                remote.mkdir(path, NOTHING),
                remote.symlink(path, b"t", NOTHING),
                remote.remove(path),
                remote.rmdir(path),
                remote.rename(path, b"y"),
                remote.rename(b"f", path),
                remote.set_attributes(path, Changes(mode=0o600)),
                names_in(remote, path),
            ):
                with pytest.raises(error):
                    await attempt
        for attempt in (remote.rmdir(b""), remote.rename(b"", b"x"), remote.rename(b"f", b"")):
            with pytest.raises(protocol.Forbidden):
                await attempt

    @pytest.mark.parametrize("durable", [True, False])
    async def test_a_file_is_replaced_at_its_version(self, remote: Remote, durable: bool) -> None:
        """The new content is there as a whole, and what was not to change did not."""
        old = await put(remote, b"f", b"a longer text", Changes(mode=0o604))
        with source(b"short") as file:
            new = await remote.write(b"f", file, old.version, NOTHING, durable=durable)
            assert os.lseek(file, 0, os.SEEK_CUR) == 2
        assert new.version != old.version
        assert (new.version, new.size, stat.S_IMODE(new.mode)) == ((await remote.stat(b"f")).version, 5, 0o604)
        assert await content_of(remote, b"f") == b"short"
        assert await names_in(remote, b"") == [b"f"]

    async def test_another_version_is_not_overwritten(self, remote: Remote) -> None:
        """Based on what is no longer there (changed or gone), write changes nothing."""
        first = await put(remote, b"f", b"1")
        await replaced(remote, b"f", b"2", first)
        with pytest.raises(protocol.VersionChanged):
            await replaced(remote, b"f", b"3", first)
        assert await content_of(remote, b"f") == b"2"
        await remote.remove(b"f")
        for path in (b"f", b"no/f"):
            with pytest.raises(protocol.VersionChanged):
                await replaced(remote, path, b"3", first)
        assert await names_in(remote, b"") == []

    async def test_one_of_two_writers_wins(self, remote: Remote) -> None:
        """Of writes at once with one base, and of creations at once, exactly one succeeds."""
        base = await put(remote, b"f", b"0")
        for path, attempts in (
            (b"f", [replaced(remote, b"f", b"%d" % number, base) for number in range(6)]),
            (b"g", [put(remote, b"g", b"%d" % number) for number in range(6)]),
        ):
            outcomes = await asyncio.gather(*attempts, return_exceptions=True)
            winners = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Attributes)]
            assert len(winners) == 1
            assert await content_of(remote, path) == b"%d" % winners[0]
        assert await names_in(remote, b"") == [b"f", b"g"]

    async def test_only_files_have_content(self, remote: Remote) -> None:
        """Folders are neither read nor written."""
        folder = await remote.mkdir(b"d", NOTHING)
        with pytest.raises(protocol.IsADirectory):
            await replaced(remote, b"d", b"x", folder)
        with pytest.raises(protocol.IsADirectory):
            await remote.read(b"d", folder.version, 0, 10)

    async def test_ranges_of_a_version_are_read(self, remote: Remote) -> None:
        """Any range, cut off at the end; nothing of any other version."""
        content = bytes(range(256)) * 1000
        old = await put(remote, b"f", content)
        for offset, length in ((0, 10), (1000, 5000), (len(content) - 3, 10), (len(content), 10), (1 << 40, 10)):
            assert await remote.read(b"f", old.version, offset, length) == content[offset : offset + length]
        await replaced(remote, b"f", content[::-1], old)
        with pytest.raises(protocol.VersionChanged):
            await remote.read(b"f", old.version, 0, 10)
        await remote.remove(b"f")
        with pytest.raises(protocol.VersionChanged):
            await remote.read(b"f", old.version, 0, 10)

    async def test_holes_stay_holes(self, remote: Remote) -> None:
        """A sparse file arrives with its content, and without its holes being filled."""
        needs(remote, "holes")
        size = 64 << 20
        with source(b"start") as file:
            os.pwrite(file, b"middle", 32 << 20)
            os.ftruncate(file, size)
            written = await remote.write(b"f", file, None, NOTHING)
        assert written.size == size
        assert written.blocks is not None and written.blocks * 512 < 1 << 20
        for offset, text in ((0, b"start\0"), (32 << 20, b"middle\0"), (size - 1, b"\0")):
            assert await remote.read(b"f", written.version, offset, len(text)) == text

    async def test_a_file_of_some_megabytes(self, remote: Remote) -> None:
        """What takes several requests arrives whole."""
        content = os.urandom(1 << 20) * 20
        await put(remote, b"f", content)
        assert await content_of(remote, b"f") == content

    async def test_hard_links_are_one_file(self, remote: Remote) -> None:
        """A write through one name is seen through the other, and the remote says that they are one."""
        needs(remote, "hard_links")
        alone = await put(remote, b"f", b"1")
        assert alone.identity is None
        linked = await remote.link(b"f", b"g")
        first = await remote.stat(b"f")
        assert (linked.version, linked.nlink, linked.identity) == (first.version, 2, first.identity)
        assert first.identity is not None
        await replaced(remote, b"f", b"longer", linked)
        assert await content_of(remote, b"g") == b"longer"
        stale = linked
        with pytest.raises(protocol.VersionChanged):
            await replaced(remote, b"g", b"never", stale)
        await remote.remove(b"f")
        assert (await remote.stat(b"g")).nlink == 1
        await remote.mkdir(b"d", NOTHING)
        for existing, path, error in (
            (b"g", b"d", protocol.AlreadyExists),
            (b"no", b"x", protocol.NotFound),
            (b"d", b"x", protocol.Forbidden),
        ):
            with pytest.raises(error):
                await remote.link(existing, path)

    async def test_folders(self, remote: Remote) -> None:
        """mkdir, rmdir and remove tell folders from files and empty from full."""
        made = await remote.mkdir(b"d", Changes(mode=0o750))
        assert made.is_directory and stat.S_IMODE(made.mode) == 0o750
        await put(remote, b"d/f")
        with pytest.raises(protocol.NotEmpty):
            await remote.rmdir(b"d")
        with pytest.raises(protocol.NotADirectory):
            await remote.rmdir(b"d/f")
        with pytest.raises(protocol.IsADirectory):
            await remote.remove(b"d")
        await remote.remove(b"d/f")
        await remote.rmdir(b"d")
        for attempt in (remote.rmdir(b"d"), remote.remove(b"d")):
            with pytest.raises(protocol.NotFound):
                await attempt

    async def test_symlinks_are_nodes(self, remote: Remote) -> None:
        """A symlink keeps its text, whatever it is, and nothing follows it, on the way or at the end."""
        needs(remote, "symlinks")
        await remote.mkdir(b"d", NOTHING)
        await put(remote, b"d/f", b"inside")
        targets = {b"in": b"d", b"out": b"/etc", b"up": b"../../x", b"raw": b"\xff\n", b"me": b"me"}
        for name, target in targets.items():
            made = await remote.symlink(name, target, Changes(mode=0o700))
            assert made.is_symlink and (made.target, made.size) == (target, len(target))
            assert await remote.readlink(name) == target
            assert (await remote.stat(name)).version == made.version
            for attempt in (
                remote.stat(name + b"/f"),
                names_in(remote, name),
                put(remote, name + b"/new"),
                remote.rmdir(name),
            ):
                with pytest.raises(protocol.NotADirectory):
                    await attempt
            with pytest.raises(protocol.RemoteError):
                await remote.read(name, made.version, 0, 10)
            with pytest.raises(protocol.RemoteError):
                await replaced(remote, name, b"x", made)
        listed = {entry.name: entry.attributes.target async for page in remote.list(b"") for entry in page}
        assert listed == {**targets, b"d": None}
        await remote.remove(b"in")
        assert await names_in(remote, b"d") == [b"f"]
        with pytest.raises(protocol.Invalid):
            await remote.readlink(b"d")
        for bad in (b"", b"a\0b", b"x" * 4096):
            with pytest.raises(protocol.Invalid):
                await remote.symlink(b"bad", bad, NOTHING)

    async def test_rename(self, remote: Remote) -> None:
        """A node moves with its content; files replace files, empty folders replace folders."""
        await put(remote, b"f", b"1")
        await put(remote, b"g", b"2")
        await remote.mkdir(b"d", NOTHING)
        moved = await remote.rename(b"f", b"d/f")
        assert (await remote.stat(b"d/f")).version == moved.version
        await remote.rename(b"d/f", b"g")
        assert await content_of(remote, b"g") == b"1"
        await remote.mkdir(b"e", NOTHING)
        await put(remote, b"e/x", b"3")
        await remote.rename(b"e", b"d")
        assert await content_of(remote, b"d/x") == b"3"
        assert await names_in(remote, b"") == [b"d", b"g"]

    async def test_a_rename_that_may_not_replace(self, remote: Remote) -> None:
        """replace=False moves to a free name only."""
        await put(remote, b"f", b"1")
        await put(remote, b"g", b"2")
        await remote.mkdir(b"d", NOTHING)
        await remote.mkdir(b"e", NOTHING)
        for old, new in ((b"f", b"g"), (b"f", b"d"), (b"d", b"e"), (b"f", b"f")):
            with pytest.raises(protocol.AlreadyExists):
                await remote.rename(old, new, replace=False)
        await remote.rename(b"f", b"h", replace=False)
        await remote.rename(b"d", b"e/d", replace=False)
        assert await names_in(remote, b"") == [b"e", b"g", b"h"]
        assert await content_of(remote, b"g") == b"2"

    async def test_renames_that_cannot_be(self, remote: Remote) -> None:
        """The errors of rename(2), and nothing moved."""
        await put(remote, b"f")
        for folder in (b"d", b"d/e", b"full", b"full/x"):
            await remote.mkdir(folder, NOTHING)
        for old, new, error in (
            (b"no", b"x", protocol.NotFound),
            (b"f", b"d", protocol.IsADirectory),
            (b"d", b"f", protocol.NotADirectory),
            (b"d", b"full", protocol.NotEmpty),
            (b"d", b"d/e/x", protocol.Invalid),
            (b"d/e", b"d", protocol.NotEmpty),
        ):
            with pytest.raises(error):
                await remote.rename(old, new)
        assert await names_in(remote, b"") == [b"d", b"f", b"full"]

    async def test_exchange(self, remote: Remote) -> None:
        """Two names swap what they stand for, also a file and a folder."""
        await put(remote, b"f", b"1")
        await remote.mkdir(b"d", NOTHING)
        await put(remote, b"d/x", b"2")
        try:
            await remote.exchange(b"f", b"d")
        except protocol.Unsupported:
            pytest.skip("this remote cannot exchange")
        assert await content_of(remote, b"d") == b"1"
        assert await content_of(remote, b"f/x") == b"2"
        with pytest.raises(protocol.NotFound):
            await remote.exchange(b"f", b"no")

    async def test_attributes(self, remote: Remote) -> None:
        """Modes, times and owners are set one by one, also the times of a symlink, and each makes a new version."""
        first = await put(remote, b"f", b"1", Changes(mode=0o600, mtime_ns=LATER, atime_ns=LATER + 1000))
        second = await remote.set_attributes(b"f", Changes(mode=0o4751))
        assert (stat.S_IMODE(second.mode), second.mtime_ns, second.atime_ns) == (
            0o4751,
            first.mtime_ns,
            first.atime_ns,
        )
        third = await remote.set_attributes(b"f", Changes(mtime_ns=1_000_000_000))
        assert (third.mtime_ns, third.atime_ns, third.mode) == (1_000_000_000, first.atime_ns, second.mode)
        assert len({first.version, second.version, third.version}) == 3
        assert (await remote.stat(b"f")).version == third.version
        assert await content_of(remote, b"f") == b"1"
        await remote.symlink(b"s", b"f", NOTHING)
        link = await remote.set_attributes(b"s", Changes(mtime_ns=2_000_000_000))
        assert (link.mtime_ns, link.target) == (2_000_000_000, b"f")
        assert (await remote.stat(b"f")).version == third.version
        with pytest.raises(protocol.Unsupported):
            await remote.set_attributes(b"s", Changes(mode=0o600))

    async def test_owners(self, remote: Remote) -> None:
        """Owners are kept, also of symlinks, and over a write that does not speak of them."""
        needs(remote, "owners")
        made = await put(remote, b"f", b"1", Changes(uid=1001, gid=1002, mode=0o640))
        assert (made.uid, made.gid) == (1001, 1002)
        new = await replaced(remote, b"f", b"2", made)
        assert (new.uid, new.gid, stat.S_IMODE(new.mode)) == (1001, 1002, 0o640)
        new = await remote.set_attributes(b"f", Changes(gid=1003, mode=0o2755))
        assert (new.uid, new.gid, stat.S_IMODE(new.mode)) == (1001, 1003, 0o2755)
        link = await remote.symlink(b"s", b"f", Changes(uid=1004))
        assert link.uid == 1004
        assert (await remote.stat(b"f")).uid == 1001

    async def test_extended_attributes(self, remote: Remote) -> None:
        """user.* attributes of files and folders are kept, over a write too; others are Unsupported."""
        needs(remote, "extended_attributes")
        await put(remote, b"f", b"1")
        await remote.mkdir(b"d", NOTHING)
        for path in (b"f", b"d"):
            before = await remote.set_xattr(path, b"user.a", b"1")
            after = await remote.set_xattr(path, b"user.\xff", b"\0\xff")
            assert after.version == (await remote.stat(path)).version
            assert await remote.get_xattrs(path) == {b"user.a": b"1", b"user.\xff": b"\0\xff"}
            assert before.mode == after.mode
        await replaced(remote, b"f", b"2", await remote.stat(b"f"))
        await remote.set_xattr(b"f", b"user.a", None)
        await remote.set_xattr(b"f", b"user.a", None)
        assert await remote.get_xattrs(b"f") == {b"user.\xff": b"\0\xff"}
        with pytest.raises(protocol.Unsupported):
            await remote.set_xattr(b"f", b"security.x", b"1")
        with pytest.raises(protocol.NotFound):
            await remote.get_xattrs(b"no")

    async def test_special_files(self, remote: Remote) -> None:
        """A FIFO is kept as such; reading or writing it as a file is refused, and does not wait for a peer."""
        needs(remote, "special_files")
        made = await remote.mknod(b"p", stat.S_IFIFO | 0o777, 0, Changes(mode=0o644))
        assert stat.S_ISFIFO(made.mode) and stat.S_IMODE(made.mode) == 0o644
        with pytest.raises(protocol.Unsupported):
            await remote.read(b"p", made.version, 0, 10)
        with pytest.raises(protocol.Unsupported):
            await replaced(remote, b"p", b"x", made)
        with pytest.raises(protocol.Invalid):
            await remote.mknod(b"q", stat.S_IFREG | 0o600, 0, NOTHING)
        with pytest.raises(protocol.AlreadyExists):
            await remote.mknod(b"p", stat.S_IFIFO, 0, NOTHING)

    async def test_names_are_bytes(self, remote: Remote) -> None:
        """Names that are not UTF-8, as long as can be, odd, or deep down are names like others."""
        names = [b"\xff\xfe", b"x" * 255, b"new\nline", b" ", b"-", b"...", b"caf\xc3\xa9", b"cafe\xcc\x81"]
        for name in names:
            await put(remote, name, name)
        assert await names_in(remote, b"") == sorted(names)
        for name in names:
            assert await content_of(remote, name) == name
        path = b""
        for _ in range(15):
            path = (path + b"/" if path else b"") + b"d" * 255
            await remote.mkdir(path, NOTHING)
        await put(remote, path + b"/f", b"deep")
        assert await content_of(remote, path + b"/f") == b"deep"
        assert len(path) > 3800

    async def test_long_listings_come_in_pages(self, remote: Remote) -> None:
        """Every name comes once, none of the pages is empty or huge, and a reader may stop after the first."""
        await remote.mkdir(b"d", NOTHING)
        wanted = sorted(b"%d" % number for number in range(2500))
        for name in wanted:
            await remote.symlink(b"d/" + name, b"t", NOTHING)
        pages = [page async for page in remote.list(b"d")]
        assert sorted(entry.name for page in pages for entry in page) == wanted
        assert len(pages) > 1 and all(0 < len(page) <= 2000 for page in pages)
        async for page in remote.list(b"d"):
            assert page
            break

    async def test_space(self, remote: Remote) -> None:
        """The numbers fit together."""
        room = await remote.space()
        assert 0 <= room.available <= room.free <= room.total
        assert 0 <= room.files_free <= room.files
