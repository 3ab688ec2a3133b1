"""A remote in memory: the model that the others are compared with, and a quick one for tests of the mirror."""

from __future__ import annotations

import itertools
import os
import stat
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from broker.remotes import protocol
from broker.remotes.paths import Path, valid_target
from broker.remotes.protocol import Attributes, Capabilities, Changes, Entry, Space, Step, Version, unseen

ALL = Capabilities(owners=True, hard_links=True, extended_attributes=True, special_files=True)


@dataclass(slots=True, eq=False)
class Node:
    ino: int
    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int = field(default_factory=time.time_ns)
    atime_ns: int = field(default_factory=time.time_ns)
    rdev: int = 0
    nlink: int = 1
    content: bytes = b""
    target: bytes | None = None
    children: dict[bytes, Node] = field(default_factory=dict)
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    state: int = 0

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def version(self) -> Version:
        return Version(f"{self.ino}:{self.state}")

    def attributes(self) -> Attributes:
        size = len(self.content if self.target is None else self.target)
        return Attributes(
            version=self.version,
            mode=self.mode,
            size=size,
            mtime_ns=self.mtime_ns,
            atime_ns=self.atime_ns,
            nlink=1 if self.is_folder else self.nlink,
            uid=self.uid,
            gid=self.gid,
            blocks=(size + 511) // 512,
            rdev=self.rdev,
            target=self.target,
            identity=str(self.ino) if self.nlink > 1 else None,
        )


class Memory:
    """Keeps all that Linux keeps, by the rules of ext4. `reads` and `writes` count what went over the wire."""

    def __init__(self, capabilities: Capabilities = ALL, page: int = 1000) -> None:
        self.capabilities = capabilities
        self.witness = None
        self.reads = 0
        self.writes = 0
        self._page = page
        self._inos = itertools.count(1)
        self._states = itertools.count(1)
        self._root = self._new(stat.S_IFDIR | 0o755)

    async def stat(self, path: Path) -> Attributes:
        return self._find(path).attributes()

    async def list(self, path: Path) -> AsyncIterator[Sequence[Entry]]:
        folder = self._find(path)
        if not folder.is_folder:
            raise protocol.NotADirectory(path)
        children = list(folder.children.items())
        for start in range(0, len(children), self._page):
            yield [Entry(name, node.attributes()) for name, node in children[start : start + self._page]]

    async def read(self, path: Path, version: Version, offset: int, length: int) -> bytes:
        self.reads += 1
        node = self._at_version(path, version)
        return node.content[offset : offset + length]

    async def write(
        self,
        path: Path,
        source: int,
        base: Version | None,
        changes: Changes,
        *,
        durable: bool = True,
        step: Step = unseen,
    ) -> Attributes:
        self.writes += 1
        content = os.pread(source, os.fstat(source).st_size, 0)
        node = self._at_version(path, base) if base else self._create(path, stat.S_IFREG | 0o600, Changes())
        node.content = content
        node.mtime_ns = time.time_ns()
        return self._change(node, changes)

    async def mkdir(self, path: Path, changes: Changes) -> Attributes:
        return self._create(path, stat.S_IFDIR | 0o700, changes).attributes()

    async def symlink(self, path: Path, target: bytes, changes: Changes) -> Attributes:
        if not valid_target(target):
            raise protocol.Invalid(path)
        node = self._create(path, stat.S_IFLNK | 0o777, replace(changes, mode=None))
        node.target = target
        return node.attributes()

    async def readlink(self, path: Path) -> bytes:
        target = self._find(path).target
        if target is None:
            raise protocol.Invalid(path)
        return target

    async def mknod(self, path: Path, mode: int, rdev: int, changes: Changes) -> Attributes:
        if stat.S_IFMT(mode) not in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK):
            raise protocol.Invalid(path)
        node = self._create(path, stat.S_IFMT(mode) | 0o600, changes)
        node.rdev = 0 if stat.S_ISFIFO(mode) else rdev
        return node.attributes()

    async def link(self, existing: Path, path: Path) -> Attributes:
        old_folder, old = self._parent(existing)
        folder, name = self._parent(path)
        node = _child(existing, old_folder, old)
        _free(path, folder, name)
        if node.is_folder:
            raise protocol.Forbidden(existing)
        folder.children[name] = node
        node.nlink += 1
        self._touch(folder)
        return self._change(node, Changes())

    async def remove(self, path: Path) -> None:
        folder, name = self._parent(path)
        node = _child(path, folder, name)
        if node.is_folder:
            raise protocol.IsADirectory(path)
        self._drop(folder, name)

    async def rmdir(self, path: Path) -> None:
        folder, name = self._parent(path)
        node = _child(path, folder, name)
        if not node.is_folder:
            raise protocol.NotADirectory(path)
        if node.children:
            raise protocol.NotEmpty(path)
        self._drop(folder, name)

    async def rename(self, old: Path, new: Path, *, replace: bool = True) -> Attributes:
        old_folder, old_name = self._parent(old)
        folder, name = self._parent(new)
        node = _child(old, old_folder, old_name)
        there = folder.children.get(name)
        if there is not None and not replace:
            raise protocol.AlreadyExists(new)
        if new.startswith(old + b"/"):
            raise protocol.Invalid(new)
        if old.startswith(new + b"/"):
            raise protocol.NotEmpty(new)
        if there is node:
            return node.attributes()
        if there is not None:
            if there.is_folder and not node.is_folder:
                raise protocol.IsADirectory(new)
            if node.is_folder and not there.is_folder:
                raise protocol.NotADirectory(new)
            if there.children:
                raise protocol.NotEmpty(new)
            self._drop(folder, name)
        del old_folder.children[old_name]
        folder.children[name] = node
        self._touch(old_folder)
        self._touch(folder)
        return self._change(node, Changes())

    async def exchange(self, one: Path, other: Path) -> None:
        folder, name = self._parent(one)
        other_folder, other_name = self._parent(other)
        node, other_node = _child(one, folder, name), _child(other, other_folder, other_name)
        if one.startswith(other + b"/") or other.startswith(one + b"/"):
            raise protocol.Invalid(other)
        folder.children[name], other_folder.children[other_name] = other_node, node
        for changed in (folder, other_folder, node, other_node):
            self._change(changed, Changes())

    async def set_attributes(self, path: Path, changes: Changes, base: Version | None = None) -> Attributes:
        node = self._find(path) if base is None else self._at_version(path, base)
        if changes.mode is not None and node.target is not None:
            raise protocol.Unsupported(path)
        return self._change(node, changes)

    async def authorize(self, path: Path) -> None:
        self._find(path)

    async def get_xattrs(self, path: Path) -> Mapping[bytes, bytes]:
        return dict(self._find(path).xattrs)

    async def set_xattr(self, path: Path, name: bytes, value: bytes | None) -> Attributes:
        node = self._find(path)
        if not name.startswith(b"user."):
            raise protocol.Unsupported(path)
        if not (node.is_folder or stat.S_ISREG(node.mode)):
            raise protocol.Forbidden(path)
        if value is None:
            node.xattrs.pop(name, None)
        else:
            node.xattrs[name] = value
        return self._change(node, Changes())

    async def sync(self, path: Path) -> None:
        if path:
            self._find(path)

    async def space(self) -> Space:
        return Space(total=1 << 30, free=1 << 29, available=1 << 29, files=1 << 20, files_free=1 << 19)

    async def close(self) -> None:
        """Nothing is held."""

    def _new(self, mode: int) -> Node:
        return Node(next(self._inos), mode)

    def _find(self, path: Path) -> Node:
        node = self._root
        for name in path.split(b"/") if path else ():
            node = _child(path, node, name)
        return node

    def _parent(self, path: Path) -> tuple[Node, bytes]:
        head, _, name = path.rpartition(b"/")
        if not name:
            raise protocol.Forbidden(path)
        folder = self._find(head)
        if not folder.is_folder:
            raise protocol.NotADirectory(path)
        return folder, name

    def _at_version(self, path: Path, version: Version) -> Node:
        try:
            node = self._find(path)
        except (protocol.NotFound, protocol.NotADirectory):
            raise protocol.VersionChanged(path) from None
        if node.version != version:
            raise protocol.VersionChanged(path)
        if node.is_folder:
            raise protocol.IsADirectory(path)
        if not stat.S_ISREG(node.mode):
            raise protocol.Unsupported(path)
        return node

    def _create(self, path: Path, mode: int, changes: Changes) -> Node:
        folder, name = self._parent(path)
        _free(path, folder, name)
        node = folder.children[name] = self._new(mode)
        self._touch(folder)
        self._change(node, changes)
        return node

    def _drop(self, folder: Node, name: bytes) -> None:
        node = folder.children.pop(name)
        node.nlink -= 1
        self._change(node, Changes())
        self._touch(folder)

    def _touch(self, folder: Node) -> None:
        folder.mtime_ns = time.time_ns()
        folder.state = next(self._states)

    def _change(self, node: Node, changes: Changes) -> Attributes:
        for name in ("uid", "gid", "mtime_ns", "atime_ns"):
            value = getattr(changes, name)
            if value is not None:
                setattr(node, name, value)
        if changes.mode is not None:
            node.mode = stat.S_IFMT(node.mode) | (changes.mode & 0o7777)
        node.state = next(self._states)
        return node.attributes()


def _child(path: Path, folder: Node, name: bytes) -> Node:
    if not folder.is_folder:
        raise protocol.NotADirectory(path)
    if name not in folder.children:
        raise protocol.NotFound(path)
    return folder.children[name]


def _free(path: Path, folder: Node, name: bytes) -> None:
    if name in folder.children:
        raise protocol.AlreadyExists(path)
