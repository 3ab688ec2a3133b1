"""Attributes: what a call changes of a node goes to the remote, no more and no less, and not into the mirror."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable, Mapping

import pytest
from remotes.memory import ALL, Memory
from remotes.plans import Plan

from broker.mirror.setid import ByChmod, ByChown, Writer
from broker.remotes.protocol import BadAnswer, Capabilities, Changes, Unavailable

from .drive import FOREVER, WRITE, Drive, Drives, calling, content_of, on_descriptor, opening, settled, store


async def test_changes_go_through(drives: Drives, memory: Memory, plan: Plan) -> None:
    """chmod, utimensat and, for root, chown, of a file that was not fetched: it is not fetched for that either."""
    await store(memory, b"f", b"content")
    async with drives() as drive:
        await drive.chmod(b"f", 0o600)
        await drive.mirror.change(b"f", calling(os.utime, ns=(1, 10**18)))
        if os.geteuid() == 0:
            await drive.mirror.change(b"f", calling(os.chown, 1234, 2345))
            assert (memory._find(b"f").uid, memory._find(b"f").gid) == (1234, 2345)
        node = memory._find(b"f")
        assert (node.mode, node.mtime_ns, node.atime_ns) == (stat.S_IFREG | 0o600, 10**18, 1)
        assert memory.reads == 0
        assert await drive.read(b"f") == b"content"
        found = await drive.stat(b"f")
        assert found is not None and found.st_mtime_ns == 10**18


async def test_what_changes_nothing_is_not_told(drives: Drives, memory: Memory, plan: Plan) -> None:
    """A chmod to the same mode costs no request."""
    await store(memory, b"f", b"", mode=0o640)
    async with drives() as drive:
        await drive.chmod(b"f", 0o640)
        assert plan.count("set_attributes") == 0


async def test_a_refused_change_is_taken_back(drives: Drives, memory: Memory, plan: Plan) -> None:
    """Mode and times in the mirror are as before."""
    await store(memory, b"f", b"", mode=0o640, mtime_ns=10**18)
    async with drives() as drive:
        for work in (calling(os.chmod, 0o4777), calling(os.utime)):
            plan.fail("set_attributes")
            with pytest.raises(Unavailable):
                await drive.mirror.change(b"f", work)
            found = await drive.stat(b"f")
            assert found is not None and (found.st_mode & 0o7777, found.st_mtime_ns) == (0o640, 10**18)


async def changed_by_descriptor(drive: Drive, path: bytes, file: int, mode: int) -> None:
    await drive.mirror.change(path, on_descriptor(os.fchmod, file, mode), file=file, writing=True, rule=ByChmod())


THROUGH: dict[str, Callable[[Drive, int], Awaitable[object]]] = {
    "fchmod": lambda drive, file: drive.mirror.change(
        b"f", on_descriptor(os.fchmod, file, 0o600), file=file, rule=ByChmod()
    ),
    "futimens": lambda drive, file: drive.mirror.change(b"f", on_descriptor(os.utime, file, (1, 1)), file=file),
    "fsetxattr": lambda drive, file: drive.mirror.set_xattr(
        b"f", b"user.a", b"1", on_descriptor(os.setxattr, file, b"user.a", b"1"), file=file
    ),
    "flistxattr": lambda drive, file: drive.mirror.load_xattrs(b"f", file=file),
}


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("call", THROUGH)
async def test_a_descriptor_goes_with_its_file(
    drives: Drives, memory: Memory, plan: Plan, call: str, replaced: bool
) -> None:
    """What is changed through it beside a rename is told under the name that the file has by then, of no other."""
    for name in (b"f", b"other"):
        await store(memory, name, name, mtime_ns=2 * 10**9)
    await memory.set_xattr(b"f", b"user.b", b"2")
    async with drives(ttl=0) as drive, drives() as another:
        file = await drive.open(b"f")
        gate = plan.hold("stat", path=b"f")
        calling_it = asyncio.ensure_future(THROUGH[call](drive, file))
        await gate.reached
        await another.rename(b"f", b"g")
        if replaced:
            await another.rename(b"other", b"f")
        gate.open()
        await calling_it
        node = memory._find(b"g")
        assert node.mode & 0o777 == (0o600 if call == "fchmod" else 0o644)
        assert node.mtime_ns == (1 if call == "futimens" else 2) * 10**9
        assert (b"user.a" in node.xattrs) == (call == "fsetxattr")
        assert call != "flistxattr" or os.listxattr(file) == ["user.b"]
        if replaced:
            other = memory._find(b"f")
            assert (other.mode & 0o777, other.mtime_ns, other.xattrs) == (0o644, 2 * 10**9, {})
        os.close(file)


async def test_a_descriptor_of_a_file_without_a_name(drives: Drives, memory: Memory, plan: Plan) -> None:
    """It is removed while the call waits: the call is made, and the one that has the name by then is left alone."""
    for name in (b"f", b"other"):
        await store(memory, name, name)
    async with drives(ttl=0) as drive, drives() as another:
        file = await drive.open(b"f")
        gate = plan.hold("stat", path=b"f")
        changing = asyncio.ensure_future(THROUGH["fchmod"](drive, file))
        await gate.reached
        await another.rename(b"other", b"f")
        gate.open()
        await changing
        assert os.fstat(file).st_mode & 0o777 == 0o600
        assert memory._find(b"f").mode & 0o777 == 0o644
        os.close(file)


async def test_a_descriptor_whose_name_is_gone(drives: Drives, memory: Memory) -> None:
    """The file has another one."""
    await store(memory, b"f", b"")
    async with drives() as drive:
        file = await drive.open(b"f")
        await drive.link(b"f", b"d")
        await drive.unlink(b"f")
        await THROUGH["fchmod"](drive, file)
        assert memory._find(b"d").mode & 0o777 == 0o600
        os.close(file)


async def test_set_id_bits_go_to_the_remote_alone(drives: Drives, memory: Memory) -> None:
    """By chmod of a file at rest and of one being written; a push leaves them, and they can be taken away."""
    await store(memory, b"f", b"")
    async with drives() as drive:
        await drive.chmod(b"f", 0o4755)
        file = await drive.open(b"g", WRITE, 0o600)
        os.write(file, b"program")
        await changed_by_descriptor(drive, b"g", file, 0o6711)
        assert os.fstat(file).st_mode & 0o7777 == 0o711
        await drive.close(file)
        await drive.flush()
        assert (memory._find(b"f").mode & 0o7777, memory._find(b"g").mode & 0o7777) == (0o4755, 0o6711)
        for name, mode, bits in ((b"f", 0o755, 0o4000), (b"g", 0o711, 0o6000)):
            found = await drive.stat(name)
            assert found is not None and found.st_mode & 0o7777 == mode
            assert drive.mirror.shown(name, found.st_ino).set_id == bits
        await drive.read(b"f")
        await drive.mirror.change(b"f", calling(os.utime))
        assert memory._find(b"f").mode & 0o7777 == 0o4755
        await drive.chmod(b"f", 0o755)
        assert memory._find(b"f").mode & 0o7777 == 0o755


async def test_opening_for_writing_leaves_set_id_bits(drives: Drives, memory: Memory) -> None:
    """An open that writes nothing changes nothing on the remote."""
    await store(memory, b"f", b"x", mode=0o4755)
    async with drives() as drive:
        await drive.close(await drive.open(b"f", os.O_RDWR))
        await drive.flush()
        assert (memory._find(b"f").mode & 0o7777, memory.writes) == (0o4755, 1)


async def test_the_mode_of_a_file_being_written_goes_with_its_content(
    drives: Drives, memory: Memory, plan: Plan
) -> None:
    """fchmod through the writing descriptor is one request less; through the path it is told at once."""
    async with drives() as drive:
        file = await drive.open(b"f", WRITE, 0o600)
        os.write(file, b"1")
        await changed_by_descriptor(drive, b"f", file, 0o644)
        assert plan.count("set_attributes") == 0
        await drive.chmod(b"f", 0o640)
        assert memory._find(b"f").mode & 0o777 == 0o640
        await changed_by_descriptor(drive, b"f", file, 0o604)
        await drive.close(file)
        await drive.flush()
        assert (memory._find(b"f").mode & 0o777, content_of(memory, b"f")) == (0o604, b"1")
        assert drive.said == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_the_owner_of_a_file_being_written_arrives(drives: Drives, memory: Memory) -> None:
    """fchown through the writing descriptor, also when nothing was written."""
    await store(memory, b"f", b"1")
    async with drives() as drive:
        file = await drive.open(b"f", os.O_RDWR)
        await drive.mirror.change(b"f", on_descriptor(os.fchown, file, 7, 8), file=file, writing=True)
        await drive.close(file)
        await drive.flush()
        assert (memory._find(b"f").uid, memory._find(b"f").gid) == (7, 8)


async def test_extended_attributes(drives: Drives, memory: Memory) -> None:
    """Loaded from the remote when asked for, set and removed there; the content is not fetched again for that."""
    await store(memory, b"f", b"content")
    await memory.set_xattr(b"f", b"user.theirs", b"1")
    async with drives() as drive:
        real = drive.mirror.tree.real(b"f")
        assert await drive.read(b"f") == b"content"
        await drive.mirror.load_xattrs(b"f")
        assert {name: os.getxattr(real, name) for name in os.listxattr(real)} == {"user.theirs": b"1"}
        await drive.mirror.set_xattr(b"f", b"user.ours", b"2", calling(os.setxattr, "user.ours", b"2"))
        await drive.mirror.set_xattr(b"f", b"user.theirs", None, calling(os.removexattr, "user.theirs"))
        assert await memory.get_xattrs(b"f") == {b"user.ours": b"2"}
        await memory.set_xattr(b"f", b"user.ours", b"3")
        await drive.mirror.load_xattrs(b"f")
        assert os.getxattr(real, "user.ours") == b"3"
        assert await drive.read(b"f") == b"content"


async def test_an_extended_attribute_that_was_refused_is_not_shown(
    drives: Drives, memory: Memory, plan: Plan
) -> None:
    """The next load takes it away again."""
    await store(memory, b"f", b"")
    async with drives() as drive:
        plan.fail("set_xattr")
        with pytest.raises(Unavailable):
            await drive.mirror.set_xattr(b"f", b"user.a", b"1", calling(os.setxattr, "user.a", b"1"))
        await drive.mirror.load_xattrs(b"f")
        assert os.listxattr(drive.mirror.tree.real(b"f")) == []


async def test_extended_attributes_of_other_kinds_are_refused(drives: Drives) -> None:
    """A remote cannot give a file capabilities, or anything that is not the user's."""

    class Lying(Memory):
        async def get_xattrs(self, path: bytes) -> Mapping[bytes, bytes]:
            return {b"user.a": b"1", b"security.capability": b"\1\0\0\2" + b"\xff" * 16}

    remote = Lying(ALL)
    await store(remote, b"f", b"")
    async with drives(remote=remote) as drive:
        with pytest.raises(BadAnswer):
            await drive.mirror.load_xattrs(b"f")
        assert os.listxattr(drive.mirror.tree.real(b"f")) == []


async def test_no_extended_attributes_at_all(drives: Drives) -> None:
    """A remote without them is EOPNOTSUPP, a file that is not there ENOENT."""
    remote = Memory(Capabilities(owners=True))
    await store(remote, b"f", b"")
    async with drives(remote=remote) as drive:
        with pytest.raises(OSError) as caught:
            await drive.mirror.load_xattrs(b"f")
        assert caught.value.errno == errno.EOPNOTSUPP
    async with drives() as drive:
        with pytest.raises(FileNotFoundError):
            await drive.mirror.load_xattrs(b"none")


async def test_a_change_meets_a_replacement(drives: Drives, memory: Memory) -> None:
    """A chmod of a file that somebody else replaced within the ttl is told of the new one, and nothing is mixed."""
    await store(memory, b"f", b"old")
    async with drives(ttl=FOREVER) as drive:
        await drive.read(b"f")
        await memory.remove(b"f")
        await store(memory, b"f", b"newer")
        await drive.chmod(b"f", 0o600)
        assert await drive.read(b"f") == b"newer"
        found = await drive.stat(b"f")
        assert found is not None and found.st_mode & 0o777 == 0o600
        await memory.set_attributes(b"f", Changes(mode=0o604))
        assert await drive.read(b"f") == b"newer"


@pytest.mark.parametrize(
    "work", [calling(os.utime, None), calling(os.utime, ns=(1, 10**18)), calling(os.chmod, 0o600)]
)
async def test_a_change_of_what_another_machine_has_written(
    drives: Drives, memory: Memory, work: Callable[..., int]
) -> None:
    """Within the ttl, as many bytes, at the same time: what is here is not taken for that."""
    await store(memory, b"f", b"ours", mode=0o640, mtime_ns=10**18)
    async with drives(ttl=FOREVER) as drive:
        assert await drive.read(b"f") == b"ours"
        await store(memory, b"f", b"them", mtime_ns=10**18)
        await drive.mirror.change(b"f", work)
        assert await drive.read(b"f") == content_of(memory, b"f") == b"them"


@pytest.mark.parametrize("capable", [False, True])
async def test_what_is_written_takes_set_id_bits_away(drives: Drives, memory: Memory, capable: bool) -> None:
    """From the remote too, unless CAP_FSETID keeps them; not what was given after the writing (`install -m 4755`)."""
    writer = Writer(1234, (1234,), capable, owns_all=False)
    await store(memory, b"f", b"x", mode=0o6775)
    async with drives() as drive:
        file = await drive.mirror.open(b"f", os.O_RDWR, opening(), writer)
        os.write(file, b"y")
        await drive.close(file)
        await drive.flush()
        assert memory._find(b"f").mode & 0o7777 == (0o6775 if capable else 0o775)
        file = await drive.mirror.open(b"f", os.O_RDWR, opening(), writer)
        os.write(file, b"z")
        await changed_by_descriptor(drive, b"f", file, 0o4755)
        await drive.close(file)
        await drive.flush()
        assert (memory._find(b"f").mode & 0o7777, content_of(memory, b"f")) == (0o4755, b"z")


async def test_times_leave_set_id_bits_and_an_owner_takes_them(drives: Drives, memory: Memory) -> None:
    """utimensat(2) that changes nothing leaves them; chown(2) that changes nothing does not, nor may everybody."""
    await store(memory, b"f", b"x", mode=0o4755)
    owner = memory._find(b"f").uid
    async with drives() as drive:
        await drive.mirror.change(b"f", lambda real: 0)
        assert memory._find(b"f").mode & 0o7777 == 0o4755
        with pytest.raises(PermissionError):
            await drive.mirror.change(b"f", lambda real: 0, rule=ByChown(Writer(owner + 1, (), True, False)))
        await drive.mirror.change(b"f", lambda real: 0, rule=ByChown(Writer(owner + 1, (), True, True)))
        assert memory._find(b"f").mode & 0o7777 == 0o755


async def test_a_time_far_away_is_the_nearest_that_there_is(drives: Drives, memory: Memory) -> None:
    """As file systems with short times do it: what is 64 bits of nanoseconds away, here and on the remote alike."""
    await store(memory, b"f", b"content")
    await memory.mkdir(b"d", Changes(mode=0o755))
    given, kept = 10**19, (1 << 63) - 1
    async with drives() as drive:
        for path in (b"f", b"d"):
            await drive.mirror.change(path, calling(os.utime, ns=(given, given)))
            found = await drive.stat(path)
            assert found is not None and found.st_mtime_ns == memory._find(path).mtime_ns == kept
        written = await drive.open(b"new", WRITE)
        os.write(written, b"text")
        await drive.mirror.change(b"new", on_descriptor(os.utime, written, (given / 1e9,) * 2), file=written)
        os.utime(written, ns=(given, given))  # as a session of before may have left it
        await drive.close(written)
        assert memory._find(b"new").mtime_ns == kept
        await settled(drive)
        assert await drive.dirty() == set()
