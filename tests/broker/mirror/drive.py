"""One session on a mirror, as programs use it: open, write, close, and the calls that name files."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from remotes.faults import Faulty
from remotes.memory import Memory, Node
from remotes.plans import Passing

from broker.mirror.content import Quiet, Room
from broker.mirror.mirror import Mirror
from broker.mirror.setid import ByChmod, Writer
from broker.mirror.vouching import Vouch
from broker.remotes.checking import Checked
from broker.remotes.protocol import Changes, NotFound, Remote
from broker.remotes.registry import open_file
from broker.settings import RemoteSettings

WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
FOREVER = 3600.0
"""A ttl in which nothing is asked twice but by open."""
ROOT = Writer(0, (), True, True)


def opening(mode: int = 0o644) -> Callable[[bytes, int], int]:
    """What a program's open(2) does on a real path."""
    return lambda real, flags: os.open(real, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)


def calling(work: Callable[..., object], *arguments: object, **named: object) -> Callable[..., int]:
    """A call on real paths, and these arguments, that gives 0 or raises OSError."""

    def act(*paths: bytes) -> int:
        work(*paths, *arguments, **named)
        return 0

    return act


def on_descriptor(work: Callable[..., object], *arguments: object) -> Callable[..., int]:
    """A call on a descriptor, which the path that leads to the same node has no part in."""

    def act(*paths: bytes) -> int:
        work(*arguments)
        return 0

    return act


def symlinking(target: bytes) -> Callable[..., int]:
    """symlink(2) with that text."""

    def act(path: bytes) -> int:
        os.symlink(target, path)
        return 0

    return act


def exchanging(old: bytes, new: bytes) -> int:
    """renameat2(2) with RENAME_EXCHANGE, as far as a test without threads can tell."""
    os.rename(old, old + b"-aside")
    os.rename(new, old)
    os.rename(old + b"-aside", new)
    return 0


@dataclass
class Drive:
    mirror: Mirror
    said: list[str] = field(default_factory=list)

    async def walk(self, path: bytes) -> None:
        """Look at every folder on the way, as the resolution of a path does; ENOENT and ENOTDIR."""
        names = path.split(b"/")
        for count in range(1, len(names)):
            status = await self.mirror.look(b"/".join(names[:count]))
            if status is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    async def open(self, path: bytes, flags: int = os.O_RDONLY, mode: int = 0o644) -> int:
        await self.walk(path)
        return await self.mirror.open(path, flags, opening(mode), ROOT)

    async def close(self, file: int) -> None:
        """close(2) of a descriptor that was written through: pushed first, as the handler does."""
        try:
            await self.pushed(file, durable=False)
        finally:
            os.close(file)

    async def pushed(self, file: int, *, durable: bool) -> None:
        """What close(2), or with `durable` fsync(2), does before the kernel's part."""
        path = self.mirror.tree.relative(os.readlink(b"/proc/self/fd/%d" % file)) or b""
        await self.mirror.written(path, os.fstat(file).st_ino, durable=durable)

    async def read(self, path: bytes) -> bytes:
        file = await self.open(path)
        try:
            return b"".join(iter(lambda: os.read(file, 1 << 20), b""))
        finally:
            os.close(file)

    async def write(self, path: bytes, content: bytes, flags: int = WRITE, mode: int = 0o644) -> None:
        file = await self.open(path, flags, mode)
        try:
            if content:
                os.write(file, content)
        finally:
            await self.close(file)

    async def stat(self, path: bytes) -> os.stat_result | None:
        await self.walk(path)
        return await self.mirror.look(path)

    async def names(self, path: bytes = b"") -> set[bytes]:
        if path:
            await self.stat(path)
        await self.mirror.listing(path)
        return set(os.listdir(self.mirror.tree.real(path)))

    async def mkdir(self, path: bytes, mode: int = 0o755) -> None:
        await self.stat(path)
        await self.mirror.mkdir(path, calling(os.mkdir, mode))

    async def symlink(self, path: bytes, target: bytes) -> None:
        await self.stat(path)
        await self.mirror.symlink(path, target, symlinking(target))

    async def link(self, old: bytes, new: bytes) -> None:
        await self.stat(old)
        await self.stat(new)
        await self.mirror.link(old, new, calling(os.link))

    async def unlink(self, path: bytes) -> None:
        await self.stat(path)
        await self.mirror.unlink(path, calling(os.unlink))

    async def rmdir(self, path: bytes) -> None:
        await self.stat(path)
        await self.mirror.rmdir(path, calling(os.rmdir))

    async def rename(self, old: bytes, new: bytes) -> None:
        await self.stat(old)
        await self.stat(new)
        await self.mirror.rename(old, new, calling(os.rename), replace=True, exchange=False)

    async def chmod(self, path: bytes, mode: int) -> None:
        await self.stat(path)
        await self.mirror.change(path, calling(os.chmod, mode), rule=ByChmod())

    async def flush(self) -> list[bytes]:
        return await self.mirror.writeback.flush()

    async def recover(self) -> list[bytes]:
        return await self.mirror.recovery.recover()

    async def dirty(self) -> set[int]:
        """The inode numbers that are on record as dirty."""
        return {record.ino for record in await self.mirror._ledger.dirty()}


class Drives:
    """Sessions on the mirror in one directory."""

    def __init__(self, directory: str, remote: Remote, plan: Passing) -> None:
        self.directory = directory
        self.remote: Remote = Faulty(remote, plan)
        self.open = 0

    @contextlib.asynccontextmanager
    async def __call__(
        self,
        *,
        ttl: float = FOREVER,
        read_only: bool = False,
        remote: Remote | None = None,
        room: Room | None = None,
        vouch: Vouch | None = None,
    ) -> AsyncIterator[Drive]:
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        said: list[str] = []

        def tell(path: bytes, what: str) -> None:
            said.append(f"{path.decode(errors='backslashreplace')} {what}")

        mirror = Mirror(
            self.directory,
            Checked(remote or self.remote, lambda error: tell(error.path, f"is refused: {error.detail}")),
            ttl=ttl,
            read_only=read_only,
            owners=os.geteuid() == 0,
            progress=Quiet(),
            tell=tell,
            room=room,
            vouch=vouch,
        )
        await mirror.recovery.prepare()
        self.open += 1
        try:
            yield Drive(mirror, said)
        finally:
            self.open -= 1
            await mirror.close()


async def store(memory: Memory, path: bytes, content: bytes, **changes: int) -> None:
    """Another host writes a file, with the folders on its way."""
    folder = b""
    for name in path.split(b"/")[:-1]:
        folder = folder + b"/" + name if folder else name
        try:
            await memory.stat(folder)
        except NotFound:
            await memory.mkdir(folder, Changes(mode=0o755))
    file = os.memfd_create("store")
    try:
        os.write(file, content)
        try:
            base = (await memory.stat(path)).version
        except NotFound:
            base = None
        await memory.write(path, file, base, Changes(**{"mode": 0o644, **changes} if base is None else changes))
    finally:
        os.close(file)


def content_of(memory: Memory, path: bytes) -> bytes:
    """What the remote has in a file."""
    return memory._find(path).content


def tree_of(memory: Memory) -> dict[bytes, tuple[int, bytes]]:
    """All that the remote has: path to type and permissions, and content or target."""

    def walk(path: bytes, node: Node) -> Iterator[tuple[bytes, tuple[int, bytes]]]:
        for name, child in node.children.items():
            below = path + b"/" + name if path else name
            mode = child.mode if child.target is None else stat.S_IFLNK
            yield below, (mode, child.content if child.target is None else child.target)
            yield from walk(below, child)

    return dict(walk(b"", memory._root))


async def settled(drive: Drive) -> None:
    """Wait for what inotify has announced so far, without pushing anything else."""
    drive.mirror.writeback.drain()
    while drive.mirror.writeback._tasks:
        await asyncio.wait(set(drive.mirror.writeback._tasks))
        drive.mirror.writeback.drain()


def share(path: str) -> Remote:
    """The `file:` remote of a folder."""
    return open_file(RemoteSettings(Path(path).as_uri()))
