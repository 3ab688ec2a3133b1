"""open(2) on a mirror: the content is there, or the name is new, before anybody gets a descriptor."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import itertools
import os
import stat
import time
from collections.abc import Callable

from broker.mirror.content import Content, Stale
from broker.mirror.lookup import Lookup
from broker.mirror.names import Act, Names
from broker.mirror.setid import Writer
from broker.mirror.tree import Tree
from broker.mirror.usage import Usage
from broker.mirror.writeback import WriteBack
from broker.remotes.paths import Path
from broker.remotes.protocol import NotFound, Remote, RemoteError

_ATTEMPTS = 8
_PATIENCE = 5.0
"""How often at least, and for how many seconds, an open starts anew because the remote's file changes under it."""

OpenAct = Callable[[bytes, int], int]
"""Opens a real path with these flags under the program's identity; the broker's descriptor."""


class Opening:
    """Opens the nodes of one mirror."""

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        lookup: Lookup,
        names: Names,
        content: Content,
        writeback: WriteBack,
        usage: Usage,
        require_writable: Callable[[], None],
    ) -> None:
        """`require_writable` raises EROFS on a read-only mount."""
        self._remote = remote
        self._tree = tree
        self._lookup = lookup
        self._names = names
        self._content = content
        self._writeback = writeback
        self._usage = usage
        self._require_writable = require_writable

    async def open(self, path: Path, flags: int, act: OpenAct, writer: Writer, since: float | None = None) -> int:
        """As `Mirror.open`."""
        began = time.monotonic() if since is None else since
        give_up = time.monotonic() + _PATIENCE
        for attempt in itertools.count(1):
            # A name that is new here is made without asking: the remote refuses it if it has it.
            new = bool(flags & os.O_CREAT) and attempt == 1 and self._tree.lstat(path) is None
            status = None if new else await self._lookup.look(path, since=began)
            try:
                if status is None:
                    return await self._create(path, flags, act, writer, asked=not new)
                if flags & os.O_CREAT and flags & os.O_EXCL:
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                if stat.S_ISREG(status.st_mode):
                    return await self._open_regular(path, flags, act, writer)
                return await self._open_other(path, status, flags, act)
            except Stale:
                began = time.monotonic()
            except FileExistsError:
                if flags & os.O_EXCL or not flags & os.O_CREAT:
                    raise
            except (FileNotFoundError, NotFound):
                if status is None or not flags & os.O_CREAT:  # else it was removed since it was looked at
                    raise
            if attempt >= _ATTEMPTS and time.monotonic() > give_up:
                break
            self._lookup.distrust(path)
            await asyncio.sleep(0 if attempt < _ATTEMPTS else os.urandom(1)[0] / 5_000)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    async def truncate(self, path: Path, act: Act, writer: Writer) -> int:
        """As `Mirror.truncate`. It starts anew when another file gets the name, or this one loses it."""
        for _ in range(_ATTEMPTS):
            status = self._tree.lstat(path)
            if status is not None and not stat.S_ISREG(status.st_mode):
                return self._tree.run(act, path)  # EINVAL or EISDIR (vfs_truncate in fs/open.c)
            file = await self.open(path, os.O_RDONLY, lambda real, flags: self._tree.open(path, flags), writer)
            try:
                with contextlib.suppress(Stale):
                    return await self._truncate(path, file, act, writer)
            finally:
                os.close(file)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    async def _truncate(self, path: Path, file: int, act: Act, writer: Writer) -> int:
        ino = os.fstat(file).st_ino
        try:
            async with self._writeback.holding(file, writer):
                status = self._tree.lstat(path)
                if status is None or status.st_ino != ino:
                    raise Stale
                result = self._tree.run(act, path)
                await self._writeback.shed_set_id(ino)
            await self._writeback.settle(ino, unfinished=True)
        except (Stale, OSError, RemoteError):
            self._writeback.settle_soon(ino)  # no close will do it, now or when the remote is back
            raise
        return result

    async def _create(self, path: Path, flags: int, act: OpenAct, writer: Writer, *, asked: bool) -> int:
        """`asked`: the remote has said that it lacks the name."""
        if not flags & os.O_CREAT:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        made = flags & ~os.O_TRUNC | os.O_EXCL
        try:
            self._require_writable()
            file = await self._names.create(path, lambda real: act(real, made), dirty=is_writing(flags))
        except OSError as error:
            # That there is such a file comes before what is wrong with making one (lookup_open in fs/namei.c).
            if not asked and not isinstance(error, FileExistsError) and await self._lookup.look(path) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
            raise
        self._usage.note(os.fstat(file).st_ino, path)
        if is_writing(flags):
            try:
                await self._writeback.hold(file, writer)
            except BaseException:
                await self._take_back(path, file)
                raise
        return file

    async def _take_back(self, path: Path, file: int) -> None:
        """Remove what has just been made, and close it: as long as it is open nobody else has its inode number."""
        ino = os.fstat(file).st_ino
        try:
            with contextlib.suppress(OSError, RemoteError):
                await self._names.unlink(path, lambda real: unlink_untouched(real, ino))
        finally:
            os.close(file)

    async def _open_regular(self, path: Path, flags: int, act: OpenAct, writer: Writer) -> int:
        if is_writing(flags):
            self._require_writable()
            await self._remote.authorize(path)
        if flags & os.O_TRUNC and not flags & (os.O_WRONLY | os.O_RDWR):
            os.close(self._act(path, os.O_WRONLY, act))
        file = self._act(path, flags & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC), act)
        try:
            if not is_writing(flags):
                await self._content.require(path, file)
            elif flags & os.O_TRUNC:
                async with self._writeback.holding(file, writer, spared=True):
                    self._empty(file)
                    await self._writeback.shed_set_id(os.fstat(file).st_ino)
            else:
                await self._content.require(path, file)
                await self._writeback.hold(file, writer)
        except BaseException:
            os.close(file)
            raise
        self._usage.note(os.fstat(file).st_ino, path)
        return file

    async def _open_other(self, path: Path, status: os.stat_result, flags: int, act: OpenAct) -> int:
        if stat.S_ISDIR(status.st_mode):
            if flags & os.O_CREAT:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            await self._lookup.listing(path)
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            raise PermissionError(errno.EACCES, "a drive is nodev")
        return self._act(path, flags & ~os.O_CREAT, act)

    def _act(self, path: Path, flags: int, act: OpenAct) -> int:
        return self._tree.run(lambda real: act(real, flags), path)

    def _empty(self, file: int) -> None:
        """What O_TRUNC does: the time changes even where nothing was (open(2)).

        The last close of a descriptor that cannot write is not announced.
        """
        real = b"/proc/self/fd/%d" % file
        before = os.fstat(file)
        os.truncate(real, 0)
        if not before.st_size:
            os.utime(real, ns=(before.st_atime_ns, time.time_ns()))
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            self._writeback.settle_soon(before.st_ino)


def unlink_untouched(real: bytes, ino: int) -> int:
    """Remove a file that the broker has made, unless by now the name is another's or somebody has written to it."""
    status = os.lstat(real)
    if status.st_ino != ino or status.st_size:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.unlink(real)
    return 0


def is_writing(flags: int) -> bool:
    """Whether open flags give a descriptor, or a truncation, that changes the file."""
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC))
