"""What belongs to a node besides its content."""

from __future__ import annotations

import stat

import pytest

from broker.remotes import protocol
from broker.remotes.protocol import Changes, Remote

from .helpers import LATER, NOTHING, content_of, needs, put, replaced


class NodeAttributes:
    async def test_new_nodes_are_private_unless_told(self, remote: Remote) -> None:
        """What has no mode yet is nobody else's, whatever our umask."""
        file, folder = await put(remote, b"f"), await remote.mkdir(b"d", NOTHING)
        assert (stat.S_IMODE(file.mode), stat.S_IMODE(folder.mode)) == (0o600, 0o700)

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

    async def test_attributes_of_a_version(self, remote: Remote) -> None:
        """They are changed of the version that is meant, or not at all: content or attributes are others by now."""
        first = await put(remote, b"f", b"1")
        second = await remote.set_attributes(b"f", Changes(mode=0o640), first.version)
        third = await replaced(remote, b"f", b"2", second)
        for base in (first.version, second.version):
            with pytest.raises(protocol.VersionChanged):
                await remote.set_attributes(b"f", Changes(mode=0o600, mtime_ns=LATER), base)
        assert (await remote.stat(b"f")).version == third.version
        assert stat.S_IMODE((await remote.set_attributes(b"f", Changes(mode=0o600), third.version)).mode) == 0o600

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

    async def test_space(self, remote: Remote) -> None:
        """The numbers fit together."""
        room = await remote.space()
        assert 0 <= room.available <= room.free <= room.total
        assert 0 <= room.files_free <= room.files
