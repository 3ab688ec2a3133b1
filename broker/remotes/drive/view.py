"""A server's root as one tree: the user's home under his name, and what others share under theirs."""

from __future__ import annotations

import contextlib
import hashlib
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

from broker.drive.errors import DriveError
from broker.drive.records import NodeId, Right, UserId
from broker.remotes import protocol
from broker.remotes.drive.errors import remote_error
from broker.remotes.drive.remote import DriveRemote
from broker.remotes.drive.roots import Root
from broker.remotes.drive.shares import Share, Shares
from broker.remotes.paths import Path, parent_of
from broker.remotes.protocol import (
    Attributes,
    Capabilities,
    Changes,
    Entry,
    RemoteError,
    Space,
    Step,
    Version,
    unseen,
)

Tree = Callable[[Root], DriveRemote]


class ViewRemote:
    """The folders above the trees are made up here; nothing can be changed in them. Between trees nothing moves."""

    def __init__(self, own: bytes, home: DriveRemote, shares: Shares, tree: Tree, below: Path) -> None:
        """`own` is the user's name; `below` the folder of the view that is the root of this remote."""
        self._own = own
        self._home = home
        self.shares = shares
        self._tree = tree
        self._below = below
        self._trees: dict[tuple[UserId, NodeId, Right], DriveRemote] = {}

    @property
    def capabilities(self) -> Capabilities:
        return self._home.capabilities

    @property
    def witness(self) -> None:
        return None

    async def stat(self, path: Path) -> Attributes:
        async with self._at(path) as (tree, rest):
            return await tree.stat(rest) if tree else _folder(await self._names(rest))

    async def list(self, path: Path) -> AsyncIterator[Sequence[Entry]]:
        async with self._at(path) as (tree, rest):
            if tree is None:
                yield [entry async for entry in self._entries(path, rest)]
                return
            async for page in tree.list(rest):
                yield page

    async def read(self, path: Path, version: Version, offset: int, length: int) -> bytes:
        async with self._at(path) as (tree, rest):
            if tree is None:
                raise protocol.IsADirectory(path)
            return await tree.read(rest, version, offset, length)

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
        async with self._below_user(path) as (tree, rest):
            return await tree.write(rest, source, base, changes, durable=durable, step=step)

    async def mkdir(self, path: Path, changes: Changes) -> Attributes:
        async with self._below_user(path) as (tree, rest):
            return await tree.mkdir(rest, changes)

    async def symlink(self, path: Path, target: bytes, changes: Changes) -> Attributes:
        async with self._below_user(path) as (tree, rest):
            return await tree.symlink(rest, target, changes)

    async def readlink(self, path: Path) -> bytes:
        async with self._at(path) as (tree, rest):
            if tree is None:
                raise protocol.Invalid(path, "not a symlink")
            return await tree.readlink(rest)

    async def mknod(self, path: Path, mode: int, rdev: int, changes: Changes) -> Attributes:
        async with self._below_user(path) as (tree, rest):
            return await tree.mknod(rest, mode, rdev, changes)

    async def link(self, existing: Path, path: Path) -> Attributes:
        async with self._both(existing, path) as (tree, first, second):
            return await tree.link(first, second)

    async def remove(self, path: Path) -> None:
        async with self._below_user(path) as (tree, rest):
            await tree.remove(rest)

    async def rmdir(self, path: Path) -> None:
        async with self._below_user(path) as (tree, rest):
            await tree.rmdir(rest)

    async def rename(self, old: Path, new: Path, *, replace: bool = True) -> Attributes:
        async with self._both(old, new) as (tree, first, second):
            return await tree.rename(first, second, replace=replace)

    async def exchange(self, one: Path, other: Path) -> None:
        async with self._both(one, other) as (tree, first, second):
            await tree.exchange(first, second)

    async def set_attributes(self, path: Path, changes: Changes, base: Version | None = None) -> Attributes:
        async with self._below_user(path) as (tree, rest):
            return await tree.set_attributes(rest, changes, base)

    async def authorize(self, path: Path) -> None:
        async with self._below_user(path) as (tree, rest):
            await tree.authorize(rest)

    async def get_xattrs(self, path: Path) -> Mapping[bytes, bytes]:
        async with self._at(path) as (tree, rest):
            return await tree.get_xattrs(rest) if tree else {}

    async def set_xattr(self, path: Path, name: bytes, value: bytes | None) -> Attributes:
        async with self._below_user(path) as (tree, rest):
            return await tree.set_xattr(rest, name, value)

    async def sync(self, path: Path) -> None:
        async with self._at(path) as (tree, rest):
            await (tree.sync(rest) if tree else self._home.sync(b""))

    async def space(self) -> Space:
        return await self._home.space()

    async def close(self) -> None:
        """The trees' core is closed by whoever made it."""

    async def find(self, path: Path) -> tuple[DriveRemote | None, Path]:
        """The tree that `path` is in and the path there; without a tree, the path of a made-up folder."""
        whole = _join(self._below, path)
        user, _, rest = whole.partition(b"/")
        if not user:
            return None, b""
        if user == self._own:
            return self._home, rest
        with self._said(path):
            shares = (await self.shares.found()).get(user)
        if shares is None:
            raise protocol.NotFound(path)
        if not rest:
            return None, user
        name, _, rest = rest.partition(b"/")
        if name not in shares:
            raise protocol.NotFound(path)
        return self._tree_of(shares[name]), rest

    async def _names(self, folder: Path) -> Sequence[bytes]:
        """What is in a made-up folder: users, or what one of them shares."""
        with self._said(folder):
            shares = await self.shares.found()
        return sorted(shares.get(folder, ()) if folder else {self._own, *shares})

    async def _entries(self, path: Path, folder: Path) -> AsyncIterator[Entry]:
        """A made-up folder, which is at `path`. A share that cannot be shown does not hide the others."""
        for name in await self._names(folder):
            try:
                attributes = await self.stat(_join(path, name))
            except (protocol.BadAnswer, protocol.NotFound) as error:
                if not folder:
                    raise
                if isinstance(error, protocol.BadAnswer):  # the other has just been taken back
                    self.shares.tell(f"a share is not shown: {error}")
            else:
                yield Entry(name, attributes)

    def _tree_of(self, share: Share) -> DriveRemote:
        """One for each owner: somebody else could say that the same node is his, with keys of his own. And one for
        each right: who may write now does not go on with the keys for reading."""
        key = share.grant.owner, share.grant.node, share.grant.right
        if key not in self._trees:
            self._trees[key] = self._tree(self.shares.root(share))
        return self._trees[key]

    @contextlib.asynccontextmanager
    async def _at(self, path: Path) -> AsyncIterator[tuple[DriveRemote | None, Path]]:
        """As `find`; errors of the tree name `path` as it was asked for."""
        tree, rest = await self.find(path)
        with named(path):
            yield tree, rest

    @contextlib.asynccontextmanager
    async def _below_user(self, path: Path) -> AsyncIterator[tuple[DriveRemote, Path]]:
        """For changes. Forbidden in a made-up folder, whether it has such a name or not."""
        forbidden = protocol.Forbidden(path, "only the server makes folders of users")
        try:
            tree, rest = await self.find(path)
        except protocol.NotFound:
            tree, _ = await self.find(parent_of(path))
            if tree is None:
                raise forbidden from None
            raise
        if tree is None:
            raise forbidden
        with named(path):
            yield tree, rest

    @contextlib.asynccontextmanager
    async def _both(self, one: Path, other: Path) -> AsyncIterator[tuple[DriveRemote, Path, Path]]:
        """For changes of two names. CrossDevice when they are in two trees: the keys of one are not for the other."""
        async with self._below_user(one) as (tree, rest), self._below_user(other) as (second, other_rest):
            if tree is not second:
                raise protocol.CrossDevice(other, "another user's tree")
            yield tree, rest, other_rest

    @contextlib.contextmanager
    def _said(self, path: Path) -> Iterator[None]:
        try:
            yield
        except DriveError as error:
            raise remote_error(error, path) from error


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Errors of a tree name `path` as it was asked for."""
    try:
        yield
    except RemoteError as error:
        raise type(error)(path, error.detail) from error


def _folder(names: Sequence[bytes]) -> Attributes:
    digest = hashlib.blake2b(b"/".join(names), digest_size=16).hexdigest()
    return Attributes(Version(digest), stat.S_IFDIR | 0o555, 0, 0, 0, nlink=1, blocks=0)


def _join(folder: Path, path: Path) -> Path:
    return b"/".join(part for part in (folder, path) if part)
