"""Blobs in whatever obstore speaks to: a folder, S3, Google Cloud Storage, Azure or memory."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from broker.drive.blobs.folders import Folder
from broker.drive.blobs.protocol import BLOB_MAX, StoredBlob, valid_blob_name
from broker.drive.errors import Damaged, DriveError, Malformed, Missing, StoreFull, Unreachable
from broker.drive.records import BlobName

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

_T = TypeVar("_T")

WORKERS = 16
"""Requests under way at once: what comes on top waits its turn."""

PAGE = 1000
"""Blobs that are listed, or deleted, by one request (the most that S3 takes)."""

_OWNER = "owner"
"""The object that says whose blobs these are, in hexadecimal digits. It is no blob, and so never listed."""

_FULL = re.compile(rf"\(os error ({errno.ENOSPC}|{errno.EDQUOT})\)|\b507 Insufficient Storage\b")

_NO_BUCKET = re.compile(r"<Code>(NoSuchBucket|ContainerNotFound)</Code>|specified bucket does not exist")
_CODE = re.compile(r"<Code>(\w+)</Code>")


class ObjectBlobs:
    """Blobs as objects ``ab/abcd…``: in a folder, no directory gets too long.

    obstore's asynchronous functions are avoided: now and then the process aborts at its end after them, when a thread
    of Rust's meets an interpreter that is no more (github.com/PyO3/pyo3-async-runtimes/issues/40). So its synchronous
    ones run on threads of our own, which also bounds how many are under way.
    """

    def __init__(self, store: ObjectStore, *, folder: Folder | None = None, workers: int = WORKERS) -> None:
        """`folder` is the store's, if it is one."""
        self._store = store
        self._folder = folder
        self._threads = ThreadPoolExecutor(workers, "blobs")

    async def put(self, name: BlobName, data: bytes | memoryview, *, durable: bool = True) -> None:
        if len(data) > BLOB_MAX:
            raise Malformed(f"a blob of {len(data)} bytes: no more than {BLOB_MAX} are stored")
        await self._run(self._put, _path(name), data, durable)

    async def settle(self, names: Sequence[BlobName] | None) -> None:
        if self._folder is None:
            return
        if names is None:
            await self._run(self._folder.settle_all)
        else:
            await asyncio.gather(*(self._run(self._folder.keep, _path(name)) for name in names))

    async def get(self, name: BlobName) -> bytes:
        return await self._run(self._get, _path(name))

    async def delete(self, names: Sequence[BlobName]) -> None:
        paths = [_path(name) for name in names]
        for start in range(0, len(paths), PAGE):
            await self._run(self._delete, paths[start : start + PAGE])

    async def list(self) -> AsyncIterator[Sequence[StoredBlob]]:
        if self._folder:
            await self._run(self._folder.sweep)
        stream = await self._run(obstore.list, self._store)
        while page := await self._run(_next_page, stream):
            yield [blob for meta in page if (blob := _stored(meta))]

    async def owner(self) -> bytes | None:
        try:
            return bytes.fromhex((await self._run(self._get, _OWNER)).decode())
        except Missing:
            return None
        except ValueError as error:
            raise Damaged(f"the object {_OWNER} of the blob store does not say whose blobs these are") from error

    async def claim(self, owner: bytes) -> None:
        await self._run(self._put, _OWNER, owner.hex().encode(), True)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _put(self, path: str, data: bytes | memoryview, durable: bool) -> None:
        if self._folder:
            self._folder.require()
        try:
            obstore.put(self._store, path, data, use_multipart=False)
        except FileNotFoundError as error:  # the place for it, then: it is not Missing itself
            raise OSError(str(error)) from error
        if durable and self._folder:
            self._folder.settle(path)

    def _get(self, path: str) -> bytes:
        result = obstore.get(self._store, path)
        if result.meta["size"] > BLOB_MAX:
            raise Damaged(f"a blob of {result.meta['size']} bytes: none is that long")
        return bytes(result.bytes())

    def _delete(self, paths: Sequence[str]) -> None:
        try:
            obstore.delete(self._store, paths)
        except FileNotFoundError:  # a folder stops at the first that is missing
            for path in paths:
                try:
                    obstore.delete(self._store, path)
                except FileNotFoundError:
                    continue

    async def _run(self, work: Callable[..., _T], *arguments: object) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        except (BaseError, OSError) as error:
            raise _drive_error(error) from error


class LinkingObjectBlobs(ObjectBlobs):
    """Those of a store that can sign requests."""

    def __init__(self, store: S3Store | GCSStore | AzureStore) -> None:
        super().__init__(store)
        self._signing = store

    async def links(self, names: Sequence[BlobName], seconds: int) -> Sequence[str]:
        paths = [_path(name) for name in names]
        return await self._run(self._sign, paths, timedelta(seconds=seconds)) if paths else []

    def _sign(self, paths: Sequence[str], time: timedelta) -> Sequence[str]:
        return obstore.sign(self._signing, "GET", paths, time)


def _path(name: BlobName) -> str:
    if not valid_blob_name(name):
        raise Malformed(f"{name!r} is no blob's name")
    return f"{name[:2]}/{name}"


def _next_page(stream: Iterator[Sequence[ObjectMeta]]) -> Sequence[ObjectMeta] | None:
    return next(stream, None)


def _stored(meta: ObjectMeta) -> StoredBlob | None:
    """None for an object that is not ours, which so is never collected."""
    name = BlobName(meta["path"].rpartition("/")[2])
    if not valid_blob_name(name) or meta["path"] != _path(name):
        return None
    return StoredBlob(name, meta["size"], meta["last_modified"].timestamp())


def _drive_error(error: BaseError | OSError) -> DriveError:
    text = _told(error)
    if _NO_BUCKET.search(str(error)):
        return Unreachable("the blob store has no such bucket: create it, or give another")
    if isinstance(error, FileNotFoundError):
        return Missing("no such blob")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return Unreachable(f"the blob store refuses its credentials: {text}")
    if _FULL.search(text) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
        return StoreFull("the blob store is full")
    return Unreachable(f"the blob store: {text}")


def _told(error: BaseError | OSError) -> str:
    """The first line of what obstore says is for people, the rest for its developers. Of a document in which a store
    says what is wrong, only the code is."""
    text, _, document = str(error).partition("<?xml")
    code = _CODE.search(document)
    return text.partition("\n")[0].rstrip(" :") + (f" ({code[1]})" if code else "")
