"""The content of files: conditional writes, reads of a version, holes, hard links."""

from __future__ import annotations

import asyncio
import os
import stat

import pytest

from broker.remotes import protocol
from broker.remotes.protocol import Attributes, Changes, Remote

from .helpers import LATER, NOTHING, content_of, names_in, needs, put, replaced, source


class Content:
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

    async def test_what_there_is_can_be_made_durable(self, remote: Remote) -> None:
        """All, the names in a folder, and a file that was written before; not what has been removed."""
        await remote.mkdir(b"d", NOTHING)
        for path, content in ((b"d/short", b"1"), (b"d/long", bytes(3 << 20) + b"1")):
            with source(content) as file:
                await remote.write(path, file, None, NOTHING, durable=False)
            for synced in (b"", b"d", path):
                await remote.sync(synced)
            assert await content_of(remote, path) == content
            await remote.remove(path)
            with pytest.raises(protocol.NotFound):
                await remote.sync(path)

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

    @pytest.mark.parametrize("size", [1, 5000, 3 << 20])
    async def test_blocks_are_those_of_the_content(self, remote: Remote, size: int) -> None:
        """`du` and the limit of the cache go by them: not less than the content, and at most the rest of a page more,
        when it is new, in a listing, and when it was replaced."""
        written = await put(remote, b"f", os.urandom(size // 2 + 1))
        written = await replaced(remote, b"f", os.urandom(size), written)
        (listed,) = [entry.attributes async for page in remote.list(b"") for entry in page]
        for found in (written, listed):
            assert found.blocks is None or size <= found.blocks * 512 < size + 4096

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
