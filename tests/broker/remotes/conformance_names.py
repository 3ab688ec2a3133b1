"""Names and what they stand for: folders, symlinks, renames, listings."""

from __future__ import annotations

import stat

import pytest

from broker.remotes import protocol
from broker.remotes.protocol import Changes, Remote

from .helpers import NOTHING, content_of, names_in, needs, put, replaced


class Names:
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

    async def test_a_folder_counts_its_folders_or_says_so(self, remote: Remote) -> None:
        """2 links and one for each folder in it, or 1, which no program takes for a number of folders (fts(3))."""
        for path in (b"d", b"d/a", b"d/b"):
            await remote.mkdir(path, NOTHING)
        await put(remote, b"d/f")
        (listed,) = [entry.attributes async for page in remote.list(b"") for entry in page]
        assert (await remote.stat(b"d")).nlink == listed.nlink and listed.nlink in (1, 4)

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
        wanted = sorted(b"%d" % number for number in range(1500))
        for name in wanted:
            await remote.symlink(b"d/" + name, b"t", NOTHING)
        pages = [page async for page in remote.list(b"d")]
        assert sorted(entry.name for page in pages for entry in page) == wanted
        assert len(pages) > 1 and all(0 < len(page) <= 2000 for page in pages)
        async for page in remote.list(b"d"):
            assert page
            break
