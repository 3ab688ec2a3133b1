"""The `file:` remote: a folder of this machine, which may be a network share that hangs.

No call blocks the loop: each operation is one job on one of the remote's own threads, and nothing is remembered
between two of them. What a job has begun it ends, even when nobody waits for it any more. Only what concerns a few
names, and little content, is done at once where the file system is a local one: the way to a thread takes longer.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

from broker.pools import pool
from broker.remotes import protocol
from broker.remotes.filesystems import answers_at_once, capabilities_of
from broker.remotes.oserrors import remote_error
from broker.remotes.paths import Path
from broker.remotes.protocol import Attributes, Capabilities, Changes, Entry, Space, Step, Version, unseen
from broker.remotes.roots import Root
from broker.remotes.tree import Tree
from broker.remotes.witness import Witness

_P = ParamSpec("_P")
_T = TypeVar("_T")

_THREADS = 8
_FEW, _PAGE = 64, 1000
"""Names that are listed at once, and together by a thread."""
_SMALL = 64 << 10
"""Bytes that are written, or freed, at once."""


class FileRemote:
    """The folder behind the descriptor `root`, which the remote takes over, or what `reopen` opens in its place.

    What is at the `hidden` paths is not shown.
    """

    def __init__(self, root: int, reopen: Callable[[], int], hidden: Collection[Path] = ()) -> None:
        self._capabilities = capabilities_of(root)
        self._prompt = answers_at_once(root)
        self._witness = Witness(folder=root) if self._prompt else None
        self._tree = Tree(Root(root, reopen), hidden)
        self._pool = pool(_THREADS, "file-remote")
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def witness(self) -> Witness | None:
        return self._witness

    @property
    def _at_once(self) -> bool:
        return self._prompt and not self._closed

    async def stat(self, path: Path) -> Attributes:
        return await self._quickly(path, self._tree.stat, path)

    async def list(self, path: Path) -> AsyncIterator[Sequence[Entry]]:
        listing = self._tree.listing(path)
        at_once = self._at_once
        size = _FEW if at_once else _PAGE
        try:
            while page := await (self._quickly if at_once else self._run)(path, listing.page, size):
                yield page
                if len(page) < size:
                    break
                at_once, size = False, _PAGE
        finally:
            if at_once:
                listing.close()
            else:
                self._later(listing.close)

    async def read(self, path: Path, version: Version, offset: int, length: int) -> bytes:
        run = self._quickly if length <= _SMALL else self._run
        return await run(path, self._tree.read, path, version, offset, length)

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
        if not durable and os.fstat(source).st_size <= _SMALL and self._is_small(path):
            try:
                return self._tree.write(path, source, base, changes, durable, step, patient=False)
            except BlockingIOError:  # somebody else is at it, for whom a thread can wait
                pass
            except OSError as error:
                raise remote_error(error, path) from error
        # The caller may close `source`, and somebody reuse its number, while a cancelled job still copies.
        own = self._duplicate(path, source)
        job = self._submit(path, self._tree.write, path, own, base, changes, durable, step)
        job.add_done_callback(lambda _: os.close(own))
        return await self._result(path, job)

    async def mkdir(self, path: Path, changes: Changes) -> Attributes:
        return await self._quickly(path, self._tree.mkdir, path, changes)

    async def symlink(self, path: Path, target: bytes, changes: Changes) -> Attributes:
        return await self._quickly(path, self._tree.symlink, path, target, changes)

    async def readlink(self, path: Path) -> bytes:
        return await self._quickly(path, self._tree.readlink, path)

    async def mknod(self, path: Path, mode: int, rdev: int, changes: Changes) -> Attributes:
        return await self._quickly(path, self._tree.mknod, path, mode, rdev, changes)

    async def link(self, existing: Path, path: Path) -> Attributes:
        return await self._quickly(path, self._tree.link, existing, path)

    async def remove(self, path: Path) -> None:
        run = self._quickly if self._is_small(path) else self._run
        await run(path, self._tree.remove, path)

    async def rmdir(self, path: Path) -> None:
        await self._quickly(path, self._tree.rmdir, path)

    async def rename(self, old: Path, new: Path, *, replace: bool = True) -> Attributes:
        run = self._quickly if self._is_small(new) else self._run
        return await run(new, self._tree.rename, old, new, replace)

    async def exchange(self, one: Path, other: Path) -> None:
        await self._quickly(other, self._tree.exchange, one, other)

    async def set_attributes(self, path: Path, changes: Changes, base: Version | None = None) -> Attributes:
        return await self._quickly(path, self._tree.set_attributes, path, changes, base)

    async def authorize(self, path: Path) -> None:
        await self._quickly(path, self._tree.authorize, path)

    async def get_xattrs(self, path: Path) -> Mapping[bytes, bytes]:
        return await self._quickly(path, self._tree.get_xattrs, path)

    async def set_xattr(self, path: Path, name: bytes, value: bytes | None) -> Attributes:
        return await self._quickly(path, self._tree.set_xattr, path, name, value)

    async def sync(self, path: Path) -> None:
        await self._run(path, self._tree.sync, path)

    async def space(self) -> Space:
        return await self._quickly(b"", self._tree.space)

    async def close(self) -> None:
        """End the threads without waiting: what hangs in the kernel cannot be helped. Later calls are Unavailable."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _is_small(self, path: Path) -> bool:
        """Whether what is at `path`, if anything, has no content that would take long to free."""
        if not self._at_once:
            return False
        try:
            return self._tree.stat(path).size <= _SMALL
        except (OSError, protocol.RemoteError):
            return True

    async def _quickly(self, path: Path, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """At once where that takes less than to wake a thread."""
        if not self._at_once:
            return await self._run(path, work, *args, **kwargs)
        try:
            return work(*args, **kwargs)
        except OSError as error:
            raise remote_error(error, path) from error

    async def _run(self, path: Path, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await self._result(path, self._submit(path, work, *args, **kwargs))

    def _submit(self, path: Path, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        if self._closed:
            raise protocol.Unavailable(path, "the remote is closed")
        return self._pool.submit(work, *args, **kwargs)

    async def _result(self, path: Path, job: Future[_T]) -> _T:
        try:
            return await asyncio.wrap_future(job)
        except OSError as error:
            raise remote_error(error, path) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise protocol.Unavailable(path, "the remote was closed") from None
            raise

    def _later(self, work: Callable[[], None]) -> None:
        """Do `work` on a thread without waiting for it."""
        if self._closed:
            threading.Thread(target=work, daemon=True).start()
        else:
            self._pool.submit(work)

    def _duplicate(self, path: Path, source: int) -> int:
        try:
            return os.dup(source)
        except OSError as error:
            raise remote_error(error, path) from error
